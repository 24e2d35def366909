"""The provenance in an image file's metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from steadygan.errors import UserError
from steadygan.pictures.animation import save_animation
from steadygan.pictures.stamp import SIDECAR, Stamp, parse, read_stamp, restamp, saving, sidecar

STAMP = Stamp(
    steadygan="0.1.0",
    checkpoint="ab" * 32,
    run="blümchen",
    step=1200,
    weights="ema",
    call="from_seeds",
    arguments={"seeds": [3, 17], "classes": [2], "truncation": 0.7, "moves": [[5, 0.25]]},
    columns=2,
)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("gif", "GIF"), ("webp", "WEBP"), ("jpg", "JPEG")])
def test_every_kind_of_file_carries_the_whole_stamp(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.new("L", (4, 4)).save(path, format=kind, **saving(STAMP, kind))
    assert read_stamp(path) == STAMP


# imageio-ffmpeg leaves the closing of its pipes to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4"])
def test_every_kind_of_film_carries_the_whole_stamp(tmp_path: Path, suffix: str) -> None:
    if suffix == "mp4":
        pytest.importorskip("imageio_ffmpeg", reason="the extra [video] is not installed")
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    assert read_stamp(save_animation(frames, tmp_path / f"film.{suffix}", stamp=STAMP)) == STAMP


def test_a_png_says_in_words_what_it_is_and_which_program_made_it(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    stamp = STAMP.of(1, 7, "seven")
    Image.new("L", (4, 4)).save(path, **saving(stamp, "PNG"))
    with Image.open(path) as image:
        assert image.info["Software"] == "steadygan 0.1.0"
        assert "blümchen, step 1200" in image.info["Description"]
        assert "class seven" in image.info["Description"]
        assert image.getexif()[0x0131] == "steadygan 0.1.0"
    assert read_stamp(path) == stamp
    assert (stamp.index, stamp.label, stamp.columns) == (1, 7, None)


def test_pixels_are_those_of_an_image_without_a_stamp(tmp_path: Path) -> None:
    image = Image.linear_gradient("L")
    image.save(tmp_path / "stamped.png", **saving(STAMP, "PNG"))
    with Image.open(tmp_path / "stamped.png") as read:
        assert read.tobytes() == image.tobytes()


def test_a_stamp_is_replaced_and_the_pixels_stay(tmp_path: Path) -> None:
    image, path = Image.linear_gradient("L"), tmp_path / "grid.png"
    image.save(path, **saving(replace(STAMP, checkpoint=""), "PNG"))
    assert read_stamp(path).checkpoint == ""
    restamp(path, replace(STAMP, column_names=("cat", "dog")))
    assert read_stamp(path) == replace(STAMP, column_names=("cat", "dog"))
    with Image.open(path) as read:
        assert (read.mode, read.tobytes()) == ("L", image.tobytes())
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="not a readable image"):
        restamp(path, STAMP)


def test_a_folder_keeps_stamps_that_files_have_lost(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / SIDECAR).write_text(sidecar({"a.png": STAMP}), encoding="utf-8")
    assert read_stamp(tmp_path / "a.png") == STAMP


def test_what_says_nothing_is_refused_by_name(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "bare.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"bare\.png does not say"):
        read_stamp(tmp_path / "bare.png")
    with pytest.raises(UserError, match=r"text\.png: not a readable image"):
        read_stamp(tmp_path / "text.png")
    with pytest.raises(UserError, match=r"absent\.png does not exist"):
        read_stamp(tmp_path / "absent.png")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint", "../../etc"),
        ("call", "__init__"),
        ("weights", "all"),
        ("step", "12"),
        ("index", -1),
        ("arguments", [1]),
    ],
)
def test_a_stamp_that_makes_no_sense_is_none(key: str, value: object) -> None:
    assert parse(json.dumps(asdict(STAMP))) == STAMP
    assert parse(json.dumps({**asdict(STAMP), key: value})) is None
