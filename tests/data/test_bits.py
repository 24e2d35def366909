"""Grey levels of more than 8 bits: their range must be set; it is never guessed silently."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import Run
from PIL import Image

from steadygan.data.decoding import eight_bit, open_image
from steadygan.data.source import Source, open_source
from steadygan.errors import UserError

LEVELS = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    """Eight images of 12 bits in 16, enough to train on."""
    folder = tmp_path / "twelve"
    folder.mkdir()
    for number in range(8):
        Image.fromarray(np.roll(LEVELS, number, 1)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two images of 8 bits in 32."""
    folder = tmp_path / "wide"
    folder.mkdir()
    for number in range(2):
        Image.fromarray((LEVELS // 16).astype(np.int32)).save(folder / f"{number}.tif")
    return folder


def opened(folder: Path, bits: int | None) -> Source:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_source(str(folder), size=64, bits=bits)


def test_twelve_bits_fill_the_range_when_they_are_said(twelve: Path) -> None:
    np.testing.assert_array_equal(opened(twelve, 12).read(0)[0], (LEVELS // 16).astype(np.uint8))


def test_unsaid_they_are_warned_of_with_the_setting(twelve: Path) -> None:
    with pytest.warns(UserWarning, match=r"brightest pixel of 8 images of 16 bits is 4095 .* set data\.bits=12 "):
        source = open_source(str(twelve), size=64)
    assert source.read(0).max() == 15


@pytest.mark.parametrize(
    ("level", "complaint"), [(1, "is 1 of 255.* nearly black"), (20, "is 20 of"), (0, "all black")]
)
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_eight_bits_that_are_nearly_black_are_warned_of(tmp_path: Path, level: int, complaint: str, mode: str) -> None:
    grey = Image.fromarray(np.full((8, 8), level, np.uint8))
    for index in range(8):
        (grey.convert("RGB").quantize() if mode == "P" else grey.convert(mode)).save(tmp_path / f"{index}.png")
    with pytest.warns(UserWarning, match=complaint):
        open_source(str(tmp_path), size=8)


def test_one_bright_image_is_enough(tmp_path: Path) -> None:
    for index, level in enumerate([3] * 20 + [200]):
        Image.new("RGB", (8, 8), (level, 0, 0)).save(tmp_path / f"{index}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_source(str(tmp_path), size=8)


def test_twelve_bits_of_colour_are_warned_of(tmp_path: Path) -> None:
    """Pillow reads 16 bits of colour as their upper 8."""
    pixels = np.random.default_rng(0).integers(0, 4096, (8, 8, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    written = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(written)
    for index in range(8):
        (tmp_path / f"{index}.png").write_bytes(data)
    with pytest.warns(UserWarning, match=r"brightest pixel of 8 images of 8 bits is 15 of 255.*10 or 12 bits in 16"):
        open_source(str(tmp_path), size=8)


def test_integers_of_32_bits_need_to_be_told_of(wide: Path) -> None:
    with pytest.raises(UserError, match=r"32-bit integers \(from 0 to 255\) .*set data\.bits=8"):
        opened(wide, None).read(0)
    np.testing.assert_array_equal(opened(wide, 8).read(0)[0], (LEVELS // 16).astype(np.uint8))


def test_values_beyond_the_bits_are_no_image(twelve: Path) -> None:
    with pytest.raises(UserError, match=r"values from 0 to 4095 do not fit in 10 bits \(data\.bits\)"):
        opened(twelve, 10).read(0)


def test_bits_say_nothing_of_images_that_have_eight() -> None:
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    np.testing.assert_array_equal(np.asarray(eight_bit(image, 1, 12)), np.asarray(image))


def test_other_bits_are_another_cache(twelve: Path) -> None:
    assert opened(twelve, 12).variant != opened(twelve, 13).variant


def test_a_32_bit_image_is_opened_whole(wide: Path) -> None:
    assert open_image((wide / "0.tif").read_bytes()).getextrema() == (0, 255)


def test_data_info_takes_bits_and_hands_them_on(steadygan: Run, twelve: Path) -> None:
    result = steadygan("data", "info", twelve, "--bits", "12")
    assert (result.status, result.err) == (0, "")
    assert f"steadygan train {twelve} data.bits=12" in result.out


def test_data_info_of_nothing_readable_proposes_nothing(steadygan: Run, wide: Path) -> None:
    result = steadygan("data", "info", wide)
    assert result.status == 1
    assert "next        " not in result.out
    assert "domains" not in result.out
    assert "unreadable  2" in result.out


def test_data_info_with_some_unreadable_proposes_a_command_that_goes(steadygan: Run, twelve: Path) -> None:
    (twelve / "8.png").write_text("no image")
    result = steadygan("data", "info", twelve, "--bits", "12")
    assert "data.bits=12 data.max_unreadable=0.13" in result.out
