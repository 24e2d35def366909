"""Pictures at the start and at the end of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.recipes.pictures import enlarged, save_film


def test_pixels_are_enlarged_without_blur() -> None:
    image = np.random.default_rng(0).integers(256, size=(3, 4, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(enlarged(Image.fromarray(image), 5)), image.repeat(5, 0).repeat(5, 1))


@pytest.mark.parametrize("sheets", [0, 1])
def test_there_is_no_film_of_one_picture(sheets: int, tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for number in range(sheets):
        Image.new("L", (8, 8)).save(tmp_path / f"samples/step-{number:08d}.png")
    assert save_film(tmp_path) is None


def test_a_film_goes_from_the_first_sheet_to_the_last_and_stays_there(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for step, level in enumerate((0, 100, 200)):
        Image.new("L", (100, 50), level).save(tmp_path / f"samples/step-{step:08d}.png")
    Image.new("L", (9, 9)).save(tmp_path / "samples/reals.png")
    film = save_film(tmp_path)
    assert film is not None
    with Image.open(film) as moving:
        assert moving.size == (500, 250)
        shown = []
        for number in range(moving.n_frames):
            moving.seek(number)
            shown.append((moving.convert("L").getpixel((0, 0)), moving.info["duration"]))
    assert [level for level, _ in shown] == [0, 100, 200]
    assert shown[-1][1] > 5 * shown[0][1]
