"""Properties measured of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.data.digits import digits
from steadygan.recipes.advice import advice, summary_lines
from steadygan.recipes.look import Look, look_at, mirror_accuracy, too_few


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(count, 3, 16, 16), dtype=np.uint8)


def test_digits_are_told_from_their_mirror_images() -> None:
    assert mirror_accuracy(digits(16)[0][:600]) > 0.75


def test_images_without_a_left_and_a_right_are_not() -> None:
    assert mirror_accuracy(noise(600)) == pytest.approx(0.5, abs=0.08)
    one = noise(300)
    both = np.stack([one, one[..., ::-1]], 1).reshape(-1, 3, 16, 16)
    assert mirror_accuracy(both) <= 0.5 + 0.08


def test_images_lit_from_the_left_are_told_always() -> None:
    light = np.linspace(120, 0, 16).astype(np.uint8)
    assert mirror_accuracy(noise(200) // 4 + light) == 1


def test_symmetric_images_are_told_by_chance() -> None:
    half = noise(50)[..., :8]
    assert mirror_accuracy(np.concatenate([half, half[..., ::-1]], -1)) == 0.5


def test_duplicates_do_not_make_left_and_right_look_different(tmp_path: Path) -> None:
    """The classifier would know the images that it is tested on."""
    for number, image in enumerate(noise(20).transpose(0, 2, 3, 1)):
        for copy in range(10):
            Image.fromarray(image).save(tmp_path / f"{number}-{copy}.png")
    look = look_at(str(tmp_path))
    assert look.mirror < 0.8, "0.99 with the duplicates"
    assert (look.count, look.duplicates, look.distinct) == (200, 180, 20)


def test_a_folder_is_seen_as_it_is(tmp_path: Path) -> None:
    for number, image in enumerate(noise(30).transpose(0, 2, 3, 1)):
        file = tmp_path / ("few" if number < 8 else "many") / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).convert("RGBA" if number % 2 else "RGB").resize((20, 16 + number)).save(file)
        if number % 4 == 3:
            with Image.open(file) as opened:
                opened.putalpha(200)
                opened.save(file)
    (tmp_path / "few" / "copy.png").write_bytes((tmp_path / "few" / "0.png").read_bytes())
    (tmp_path / "many" / "broken.png").write_bytes(b"no image")
    look = look_at(str(tmp_path))
    assert (look.count, look.duplicates, list(look.unreadable)) == (32, 1, ["many/broken.png"])
    assert look.classes == {"few": 9, "many": 23}
    assert not look.balanced
    assert (look.side, look.channels) == (20, 3)
    assert look.alpha == pytest.approx(7 / 31), "of 15 with an alpha channel"
    said = " ".join(advice(look))
    for word in ("few", "unreadable images are left out (1)", "repeat", "smaller than 32", "transparent"):
        assert word in said


def test_only_different_images_that_can_be_read_count_towards_the_least() -> None:
    look = Look("photos", "flat", 20, 20, 32, (32, 32), 3, {}, 0.0, 0.5, 12, {})
    assert too_few(look) is None
    reason = "too few to learn from; use 8 different ones at least, thousands if you can"
    assert too_few(replace(look, duplicates=13)) == f"photos has 20 images, of which 13 repeat another: {reason}"
    broken = {f"{number}.png": "empty" for number in range(4)}
    some = too_few(replace(look, looked_at=16, unreadable=broken))
    assert some == f"photos has 20 images, of which 4 cannot be read and 12 repeat another: {reason}"
    assert too_few(replace(look, count=7, looked_at=7, duplicates=0)) == f"photos has 7 images: {reason}"
    many = replace(look, count=6000, looked_at=2000, duplicates=1998)
    assert too_few(many) == f"photos has 6,000 images, of which about 5,994 repeat another: {reason}"
    none = too_few(replace(look, looked_at=0, duplicates=0, unreadable=dict.fromkeys(map(str, range(20)), "empty")))
    assert none is not None
    assert "none of 20 images can be read" in none


def test_mirroring_that_was_not_measured_is_not_given_in_percent(tmp_path: Path) -> None:
    for number, image in enumerate(noise(7).transpose(0, 2, 3, 1)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    look = look_at(str(tmp_path))
    assert look.mirror is None
    assert dict(summary_lines(look))["mirrored"] == "not measured: too few different images"
