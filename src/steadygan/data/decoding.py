"""One image file's bytes to pixels: any mode, any size, damaged or hostile."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from steadygan.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


class UnreadableImage(UserError):
    """One image that cannot be decoded; `name` is its path inside the source, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read the image {name}: {reason}")
        self.name, self.reason = name, reason


def check_unreadable(failures: Sequence[UnreadableImage], total: int) -> None:
    """Raises UserError, naming up to five, unless under 1 % of `total` images could not be read."""
    if failures and 100 * len(failures) >= total:
        named = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failures[:5])
        raise UserError(
            f"too many images cannot be read: at least {len(failures)} of {total} (under 1 % are skipped). "
            f"Repair or remove\n{named}" + ("\n  …" if len(failures) > 5 else "")
        )


def open_image(data: bytes) -> Image.Image:
    """The first frame, fully decoded and the right way up."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.width}×{image.height} is over the limit of {Image.MAX_IMAGE_PIXELS} pixels")
    image.load()
    # A damaged EXIF block says nothing about the orientation; the pixels are sound.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def eight_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 0xFFFF) // 256).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def decode(data: bytes, *, size: int, channels: int) -> np.ndarray:
    """An image file's bytes to (channels, size, size) uint8, channels 1 or 3: its centre square, resized.

    EXIF orientation is applied, transparency composited on white, 16 bits divided by 256. Lanczos shrinks,
    bicubic enlarges; a square of that size is untouched. Raises whatever Pillow does on damaged files.
    """
    image = open_image(data)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = eight_bit(image.crop((left, top, left + side, top + side)), "L" if channels == 1 else "RGB")
    if side != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1).copy()


def reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return str(error) or type(error).__name__
