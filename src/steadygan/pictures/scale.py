"""Enlarging sheets of small images, and undoing it; without torch, for the studio's server."""

from __future__ import annotations

from PIL import Image

from steadygan.pictures.stamp import Stamp

GAP = 2
"""Pixels of white between the images of a sheet that is not enlarged."""
LARGE, WIDE = 128, 1200
"""Pixels: the side of an image and the width of a sheet up to which they are enlarged."""


def enlargement(side: int, columns: int) -> int:
    """The whole factor that makes images of `side` pixels large enough to see, so many in a row."""
    return max(1, min(LARGE // side, WIDE // (columns * (side + GAP) + GAP)))


def enlarged(image: Image.Image, times: int) -> Image.Image:
    """Each pixel as a square of `times` by `times`, without blur."""
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST) if times > 1 else image


def plain(sheet: Image.Image, stamp: Stamp | None) -> Image.Image:
    """A sheet as `grid` made it, pixel for pixel: without names, not enlarged.

    Args:
        sheet: the decoded file.
        stamp: of the file; None, or one that no longer fits the size: the sheet stays as it is.
    """
    if stamp is None or (stamp.enlarged, stamp.top) == (1, 0):
        return sheet
    times, top = stamp.enlarged, stamp.top
    if top >= sheet.height or sheet.width % times or (sheet.height - top) % times:
        return sheet  # edited since
    box = (0, top, sheet.width, sheet.height)
    return sheet.resize((sheet.width // times, (sheet.height - top) // times), Image.Resampling.NEAREST, box)
