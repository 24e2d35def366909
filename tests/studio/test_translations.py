"""Playing with a translation: the user's images, and held-out images."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from studio_runs import Open, id_of, unpacked

from steadygan.errors import UserError
from steadygan.generators.loading import load_translator
from steadygan.generators.remaking import check
from steadygan.pictures.stamp import read_stamp
from steadygan.studio.painter import Painter
from steadygan.studio.security import LARGEST_BODY

GOLDEN = Path(__file__).parents[1] / "golden" / "version-0.1.0"
STEP = 4


@pytest.fixture
def post(open_studio: Open, tmp_path: Path, painter: Painter) -> Any:
    """Posts to a run that translates, of an older version."""
    painter.ask("hello", seconds=600)
    run = tmp_path / "runs" / "pairs"
    shutil.copytree(GOLDEN / "translation", run)
    config = (run / "config.yaml").read_text().replace("tests/golden/pairs", str(GOLDEN / "pairs"))
    (run / "config.yaml").write_text(config)
    client = open_studio(tmp_path / "runs")
    id = id_of(client, "pairs")
    return lambda what, **body: client.post(f"/api/runs/{id}/{what}", json={"step": STEP, **body})


def picture(width: int, height: int) -> tuple[np.ndarray, str]:
    """Pixels, and the PNG file of them as base64."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return pixels, base64.b64encode(out.getvalue()).decode()


def test_an_image_of_any_size_becomes_what_the_library_makes_of_it(post: Any, tmp_path: Path) -> None:
    pixels, file = picture(200, 120)
    assert len(file) > LARGEST_BODY
    head, images = unpacked(post("translated", image=file, direction="b2a").content)
    translator = load_translator(GOLDEN / "translation", device="cpu")
    expected = translator.translate(torch.from_numpy(pixels).permute(2, 0, 1), "b2a")
    assert (head["count"], head["width"], head["height"]) == (2, 200, 120)
    assert (images[0] == pixels).all()
    assert (images[1] == expected.permute(1, 2, 0).numpy()).all()
    kept = tmp_path / "kept.png"
    kept.write_bytes(post("translated", image=file, direction="b2a", keep=True).content)
    with Image.open(kept) as opened:
        assert (np.asarray(opened) == images[1]).all()
    stamp = read_stamp(kept)
    assert (stamp.call, stamp.step, stamp.arguments) == ("translate", STEP, {"direction": "b2a"})
    with pytest.raises(UserError, match="images of the data"):
        check(stamp)


def test_held_out_images_come_with_what_is_made_of_them(post: Any) -> None:
    about = post("translator").json()
    assert set(about["directions"]) == {"a2b", "b2a"}
    head, images = unpacked(post("pairs", count=2).content)
    assert head["part"] == "test"
    assert head["indices"] == [0, 1]
    each = 3 if head["aligned"] else 2
    assert len(images) == 2 * each
    translator = load_translator(GOLDEN / "translation", device="cpu")
    expected = translator.translate(torch.from_numpy(images[::each].copy()).permute(0, 3, 1, 2))
    assert (images[1::each] == expected.permute(0, 2, 3, 1).numpy()).all()
    far, _ = unpacked(post("pairs", first=head["of"], count=1).content)
    assert far["indices"] == [0]


def test_a_file_that_is_no_image_is_refused_and_the_next_one_translated(post: Any) -> None:
    answer = post("translated", image=base64.b64encode(b"no image").decode())
    assert answer.status_code == 502
    assert "not a readable image" in answer.json()["error"]
    assert post("translated", image="%").status_code == 502
    assert post("translated", image=picture(32, 32)[1], direction="c2d").status_code == 400
    assert post("translated", image=picture(32, 32)[1]).status_code == 200


def test_images_that_are_not_there_are_named(post: Any, tmp_path: Path) -> None:
    config = tmp_path / "runs" / "pairs" / "config.yaml"
    config.write_text(config.read_text().replace(str(GOLDEN / "pairs"), str(tmp_path / "absent")))
    answer = post("pairs")
    assert answer.status_code == 502
    assert "absent" in answer.json()["error"]
