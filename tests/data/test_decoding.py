"""Decoding: pixel modes, orientation and geometry."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from data.making import as_data_folder, encoded, noise, png, sixteen
from PIL import Image

from steadygan.data.decoding import UnreadableImage, open_image, square
from steadygan.data.source import open_source


def decode(data: bytes, *, size: int, channels: int) -> np.ndarray:
    return square(open_image(data), size=size, channels=channels)


def colour(data: bytes, channels: int = 3) -> list[int]:
    pixels = decode(data, size=4, channels=channels)
    assert pixels.shape == (channels, 4, 4)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist()


def plain(mode: str, value: object) -> Image.Image:
    return Image.new(mode, (4, 4), value)  # type: ignore[arg-type]


# Pixel modes


@pytest.mark.parametrize(
    ("data", "rgb"),
    [
        (encoded(plain("RGB", (10, 20, 30))), [10, 20, 30]),
        (encoded(plain("L", 77)), [77] * 3),
        (encoded(plain("1", 1)), [255] * 3),
        (encoded(plain("P", 0).quantize(2)), [0] * 3),
        (encoded(plain("RGB", (10, 20, 30)).quantize(4)), [10, 20, 30]),
        (encoded(plain("RGBA", (10, 20, 30, 255))), [10, 20, 30]),
        (encoded(plain("RGBA", (10, 20, 30, 0))), [255] * 3),
        (encoded(plain("RGBA", (0, 255, 0, 51))), [204, 255, 204]),
        (encoded(plain("LA", (100, 255))), [100] * 3),
        (encoded(plain("LA", (0, 51))), [204] * 3),
        (encoded(plain("L", 7), transparency=7), [255] * 3),
        (encoded(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)), [255] * 3),
        (encoded(sixteen(0x8000)), [0x80] * 3),
        (encoded(sixteen(0xFFFF)), [255] * 3),
        (encoded(sixteen(0x1234), "TIFF"), [0x12] * 3),
        (b"P5 4 4 65535 " + b"\x80\xff" * 16, [0x80] * 3),
        (encoded(plain("CMYK", (255, 0, 0, 0)), "TIFF"), [0, 255, 255]),
        (encoded(plain("RGB", (10, 20, 30)), "BMP"), [10, 20, 30]),
        (encoded(plain("RGB", (10, 20, 30)), "WEBP", lossless=True), [10, 20, 30]),
        (encoded(plain("RGB", (10, 20, 30)), "PPM"), [10, 20, 30]),
    ],
)
def test_every_pixel_mode_becomes_rgb(data: bytes, rgb: list[int]) -> None:
    assert colour(data) == rgb


def test_cmyk_jpeg_is_converted() -> None:
    red = colour(encoded(plain("CMYK", (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(np.subtract(red, [255, 0, 0])).max() <= 3


def test_one_channel_is_the_luma_and_composites_on_white() -> None:
    assert colour(encoded(plain("RGB", (255, 0, 0))), channels=1) == [76]
    assert colour(encoded(plain("LA", (90, 255))), channels=1) == [90]
    assert colour(encoded(plain("LA", (90, 0))), channels=1) == [255]


def test_transparent_palette_is_composited_on_white() -> None:
    image = plain("P", 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert colour(encoded(image, transparency=1)) == [255] * 3
    assert colour(encoded(image, transparency=bytes([255, 0]))) == [255] * 3
    assert colour(encoded(image, transparency=0)) == [40, 50, 60]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [plain("RGB", c).quantize(2) if kind == "GIF" else plain("RGB", c) for c in ((200, 0, 0), (0, 0, 9))]
    assert colour(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == [200, 0, 0]


def test_floating_point_images_are_refused_with_a_reason(tmp_path: Path) -> None:
    source = open_source(str(as_data_folder(tmp_path, {"a.tif": encoded(plain("F", 0.5), "TIFF")})), size=4)
    with pytest.raises(UnreadableImage, match=r"a\.tif.*floating-point"):
        source.read(0)


# Geometry


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = noise(0)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(decode(data, size=8, channels=3), upright.transpose(2, 0, 1))


@pytest.mark.parametrize("block", [b"garbage!", b"II*\0\x08\0\0", b"II*\0\xff\xff\xff\xff"])
def test_damaged_exif_does_not_cost_the_image(block: bytes) -> None:
    data = encoded(Image.fromarray(noise(0)), exif=b"Exif\0\0" + block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = decode(data, size=8, channels=3)
    np.testing.assert_array_equal(pixels, noise(0).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_a_lossless_image_of_the_right_size_is_bit_exact(kind: str) -> None:
    data = encoded(Image.fromarray(noise(1)), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data, size=8, channels=3), noise(1).transpose(2, 0, 1))


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 13, 0, 2), (12, 8, 2, 0)])
def test_the_centre_square_is_kept(height: int, width: int, top: int, left: int) -> None:
    pixels = decode(png(2, height=height, width=width), size=8, channels=3)
    crop = noise(2, height, width)[top : top + 8, left : left + 8]
    np.testing.assert_array_equal(pixels, crop.transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "kernel"), [(4, Image.Resampling.LANCZOS), (16, Image.Resampling.BICUBIC)])
def test_lanczos_shrinks_and_bicubic_enlarges(size: int, kernel: Image.Resampling) -> None:
    expected = np.asarray(Image.fromarray(noise(3)).resize((size, size), kernel))
    np.testing.assert_array_equal(decode(png(3), size=size, channels=3), expected.transpose(2, 0, 1))
