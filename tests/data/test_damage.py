"""Damaged images: read as unreadable, skipped while they are few."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from data.making import Packing, as_data_folder, as_data_zip, encoded, noise, packings, png
from PIL import Image

from steadygan.data.decoding import UnreadableImage
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError

DAMAGED = {
    "truncated.png": png(0, height=64, width=64)[:-2000],
    "truncated.jpg": encoded(Image.fromarray(noise(0, 64, 64)), "JPEG")[:-900],
    "zero.png": b"",
    "text.jpg": b"this is no image",
    "flipped.png": png(0)[:60] + b"\xff" * 20 + png(0)[80:],
}


@packings
def test_damaged_images_are_read_as_unreadable(tmp_path: Path, pack: Packing) -> None:
    source = open_source(str(pack(tmp_path, DAMAGED)), size=8)
    for index, name in enumerate(source.names):
        with pytest.raises(UnreadableImage, match=name):
            source.read(index)


def test_a_damaged_zip_member_is_unreadable(tmp_path: Path) -> None:
    path = as_data_zip(tmp_path, {"a.png": png(0), "b.png": png(1)})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    source = open_source(str(path), size=8)
    with pytest.raises(UnreadableImage, match=r"a\.png"):
        source.read(0)
    np.testing.assert_array_equal(source.read(1), noise(1).transpose(2, 0, 1))


@pytest.mark.parametrize("side", [20, 100])  # Pillow warns over its limit and refuses over twice its limit.
def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    source = open_source(str(as_data_folder(tmp_path, {"a.png": png(0, height=side, width=side)})), size=8, channels=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(UnreadableImage, match="limit"):
            source.read(0)


@packings
def test_under_one_per_cent_of_damage_is_skipped(tmp_path: Path, pack: Packing) -> None:
    good = {f"{i % 2}/{i:03}.png": png(i) for i in range(150)}
    source = open_source(str(pack(tmp_path, good | {"0/0000.png": b"damaged"})), size=8)
    images = load_images(source, range(len(source)))
    assert images.skipped == ["0/0000.png"]
    assert len(images) == 150
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 75 + [1] * 75
    np.testing.assert_array_equal(images.take([0])[0].numpy(), noise(0).transpose(2, 0, 1))


def test_more_damage_is_an_error_naming_five(tmp_path: Path) -> None:
    files = {f"good{i:02}.png": png(i) for i in range(90)} | {f"bad{i}.png": b"" for i in range(7)}
    source = open_source(str(as_data_folder(tmp_path, files)), size=8)
    with pytest.raises(UserError, match="at least 7 of 97") as caught:
        load_images(source, range(len(source)))
    assert [f"bad{i}.png" in str(caught.value) for i in range(7)] == [True] * 5 + [False] * 2


def test_exactly_one_per_cent_is_too_much(tmp_path: Path) -> None:
    files = {f"{i:02}.png": png(0) for i in range(99)} | {"bad.png": b""}
    source = open_source(str(as_data_folder(tmp_path, files)), size=8)
    with pytest.raises(UserError, match=r"bad\.png: not an image"):
        load_images(source, range(100))


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (b"\0\0\0\x18ftypheic", "it is a HEIC image, which is not supported: convert it to PNG or JPEG"),
        (b"\0\0\0\x1cftypavif", "it is an AVIF image"),
        (b"\0\0\0\x18ftypmp42", "it is a video or an image of another format"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
    ],
)
def test_a_file_of_another_format_under_an_image_s_name_is_called_what_it_is(
    tmp_path: Path, head: bytes, told: str
) -> None:
    folder = as_data_folder(tmp_path, {"photo.jpg": head + bytes(100)})
    with pytest.raises(UnreadableImage, match=rf"photo\.jpg: {told}"):
        open_source(str(folder), size=8, channels=3).read(0)
