"""Decodes image files of any mode and size, damaged or hostile, to pixels."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from steadygan.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_UNREADABLE = 0.01
UNKNOWN_RANGE = "steadygan-range"
"""Key in `Image.info` for the lowest and highest value of 32-bit integers."""
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis"), "a HEIC image"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    **dict.fromkeys((b"mif1", b"msf1"), "a HEIF image"),
    b"crx ": "a raw image (CR3)",
}
"""Formats by their brand after `ftyp`."""
OTHER_FORMATS = {
    b"\xff\x0a": "a JPEG XL image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"8BPS": "a Photoshop file",
    b"<svg": "an SVG drawing",
    b"<!DOCTYPE": "a web page",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"%PDF": "a PDF file",
}
"""Formats by their first bytes; files downloaded by scripts and from phones often have a wrong suffix."""
MAX_SCANS = 200
"""Maximum number of scans in a progressive JPEG: encoders write fewer than a tenth, and each costs a pass over all
pixels."""


class UnreadableImage(UserError):
    """An image that cannot be decoded.

    Args:
        name: its path inside the source.
        reason: why.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read the image {name}: {reason}")
        self.name, self.reason = name, reason


def check_unreadable(failures: Sequence[UnreadableImage], total: int, share: float = MAX_UNREADABLE) -> None:
    """Raises UserError, naming up to five images, if `share` of `total` images or more are unreadable."""
    if failures and len(failures) >= share * total:
        named = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failures[:5])
        raise UserError(
            f"too many images cannot be read: at least {len(failures)} of {total} (under {100 * share:g} % are "
            "skipped; to change that, give --max-unreadable, in training data.max_unreadable). Repair or remove\n"
            + (f"{named}\n  …" if len(failures) > 5 else named)
        )


def open_image(data: bytes) -> Image.Image:
    """The first frame, fully decoded and with its EXIF orientation applied.

    32-bit integers are marked, as their range is unknown (`eight_bit`). At most Pillow's MAX_IMAGE_PIXELS are decoded,
    whatever the header says, and only FORMATS. Raises Pillow's errors on damaged files.

    Raises:
        ValueError: the file is empty, of a format that is known but not supported, or has too many pixels or scans.
    """
    if not data:
        raise ValueError("not an image, as it is empty")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise ValueError(f"over {MAX_SCANS} scans in one JPEG")
    if (other := _other_format(data[:16])) is not None:
        raise ValueError(f"it is {other}, which is not supported: convert it to PNG or JPEG")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.width}×{image.height} is over the limit of {Image.MAX_IMAGE_PIXELS} pixels")
    image.load()
    if image.mode == "I" and image.format == "TIFF":
        image.info[UNKNOWN_RANGE] = image.getextrema()
    # A damaged EXIF block loses the orientation; the pixels are intact.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _other_format(head: bytes) -> str | None:
    """An image format outside FORMATS by a file's first bytes, whatever its name; None for others."""
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "a video or an image of another format")
    return next((name for start, name in OTHER_FORMATS.items() if head.startswith(start)), None)


def eight_bit(image: Image.Image, channels: int, bits: int | None = None) -> Image.Image:
    """Converts an image to grey (channels 1) or RGB (3) with 8 bits per channel.

    Args:
        image: of any mode.
        channels: 1 or 3.
        bits: used bits of 16-bit or 32-bit grey levels, e.g. 12 for values up to 4095; None: all 16.

    Raises:
        ValueError: the pixels' range is unknown (floating point, or 32-bit integers with `bits` None), or values exceed
            `bits`.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        if bits is None and UNKNOWN_RANGE in image.info:
            low, high = image.info[UNKNOWN_RANGE]
            guess = max(8, int(high).bit_length())
            raise ValueError(
                f"32-bit integers (from {low} to {high}) have no agreed range; set data.bits={guess} if that is what "
                "they are, or save it with 8 or 16 bits"
            )
        levels = np.asarray(image).astype(np.int64)
        if bits is not None and (levels.min() < 0 or levels.max() >= 1 << bits):
            raise ValueError(f"values from {levels.min()} to {levels.max()} do not fit in {bits} bits (data.bits)")
        levels = levels.clip(0, 0xFFFF) // 256 if bits is None else levels * 256 // (1 << bits)
        image = Image.fromarray(levels.astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def square(image: Image.Image, *, size: int, channels: int, bits: int | None = None) -> np.ndarray:
    """Crops an image's centre square and resizes it. Transparency is composited on white.

    Lanczos shrinks, bicubic enlarges; a square of that size is not resampled.

    Args:
        image: of any size and Pillow mode.
        size: side of the square, in pixels.
        channels: 1 or 3.
        bits: used bits of 16-bit images (see `eight_bit`); None: all 16, divided by 256.

    Returns:
        (channels, size, size) uint8.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return whole(image.crop((left, top, left + side, top + side)), size=size, channels=channels, bits=bits)


def whole(image: Image.Image, *, size: int, channels: int, bits: int | None = None) -> np.ndarray:
    """Resizes an image's shorter side without cropping; otherwise like `square`.

    Args:
        image: of any size and Pillow mode.
        size: the shorter side, in pixels.
        channels: 1 or 3.
        bits: see `square`.

    Returns:
        (channels, height, width) uint8.
    """
    image, side = eight_bit(image, channels, bits), min(image.size)
    if side != size:
        kernel = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
        width, height = (max(size, round(extent * size / side)) for extent in image.size)
        image = image.resize((width, height), kernel)
    return planes(image)


def planes(image: Image.Image) -> np.ndarray:
    """Converts an 8-bit image to (C, H, W) uint8."""
    array = np.asarray(image)
    return array[None].copy() if array.ndim == 2 else array.transpose(2, 0, 1).copy()


def reason(error: Exception) -> str:
    """A short reason why an image could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    if isinstance(error, FileNotFoundError):
        return "the file does not exist (a broken link, or removed meanwhile)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error) or type(error).__name__
