"""Bits, ranges and channels of images: errors and warnings for implausible values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.making import (
    as_data_folder,
    encoded,
    png,
    sixteen,
)
from PIL import Image

from steadygan.data.decoding import UnreadableImage
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.mark.parametrize(("low", "high"), [(82, 155), (-5, 0), (0, 70_000)])
def test_integers_of_32_bits_are_refused_with_their_range(tmp_path: Path, low: int, high: int) -> None:
    pixels = np.full((8, 8), low, np.int32)
    pixels[0, 0] = high
    path = as_data_folder(tmp_path, {"a.tif": encoded(Image.fromarray(pixels), "TIFF")})
    with pytest.raises(UnreadableImage, match=f"a.tif: 32-bit integers .from {low} to {high}."):
        open_source(str(path), size=8).read(0)


@pytest.mark.parametrize(("brightest", "warned"), [(4095, True), (16_383, True), (16_384, False), (65_535, False)])
@pytest.mark.parametrize("channels", [None, 3])
def test_few_bits_in_sixteen_are_warned_of(tmp_path: Path, brightest: int, warned: bool, channels: int | None) -> None:
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0, 0] = brightest
    path = as_data_folder(tmp_path, {"a.png": encoded(Image.fromarray(pixels))})
    if warned:
        with pytest.warns(UserWarning, match=f"{brightest} of 65535.*set data.bits={brightest.bit_length()}"):
            open_source(str(path), size=8, channels=channels)
    else:
        assert open_source(str(path), size=8, channels=channels).read(0).max() == brightest // 256


@pytest.mark.parametrize("place", [70, 199])
def test_colour_after_many_grey_images_is_not_dropped(tmp_path: Path, place: int) -> None:
    files = {f"{i:03}.png": encoded(Image.new("L", (8, 8), i)) for i in range(200)}
    path = as_data_folder(tmp_path, files | {f"{place:03}.png": png(0)})
    try:
        source = open_source(str(path), size=8)
        load_images(source, range(200))
    except UserError as error:
        assert f"{place:03}.png is in colour" in str(error)  # noqa: PT017 - found by the probe, or else on reading
        assert "data.channels=3" in str(error)  # noqa: PT017
    else:
        assert source.channels == 3
    assert open_source(str(path), size=8, channels=1).read(place).shape == (1, 8, 8)


@pytest.mark.parametrize(("modes", "channels"), [(["L", "LA", "1"], 1), (["L", "RGB"], 3), (["P"], 3)])
def test_channels_are_one_only_if_all_are_greyscale(tmp_path: Path, modes: list[str], channels: int) -> None:
    files = {f"{i}.png": encoded(Image.new(mode, (8, 8))) for i, mode in enumerate(modes)}
    source = open_source(str(as_data_folder(tmp_path, files | {"16.png": encoded(sixteen(0x9000))})), size=8)
    assert source.channels == channels
    assert source.read(0).shape == (channels, 8, 8)


def test_channels_can_be_asked_for(tmp_path: Path) -> None:
    path = str(as_data_folder(tmp_path, {"a.png": png(0)}))
    assert open_source(path, size=8, channels=1).read(0).shape == (1, 8, 8)
