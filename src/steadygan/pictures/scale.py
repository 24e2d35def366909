"""Enlarges grids of small images, and reverses it; without torch, for the studio's server."""

from __future__ import annotations

from PIL import Image

from steadygan.pictures.stamp import Stamp

GAP = 2
"""White pixels between the images of a grid, before enlargement."""
LARGE, WIDE = 128, 1200
"""Maximum side of an image and width of a grid, in pixels, for enlargement."""


def enlargement(side: int, columns: int) -> int:
    """The integer factor by which to enlarge images of `side` pixels in a grid of this many columns."""
    return max(1, min(LARGE // side, WIDE // (columns * (side + GAP) + GAP)))


def enlarged(image: Image.Image, times: int) -> Image.Image:
    """Enlarges by repeating each pixel `times` × `times`."""
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST) if times > 1 else image


def plain(sheet: Image.Image, stamp: Stamp | None) -> Image.Image:
    """Restores the output of `grid`: without names and enlargement.

    Args:
        sheet: the decoded file.
        stamp: the file's stamp; if None or inconsistent with the size, the grid is returned unchanged.
    """
    if stamp is None or (stamp.enlarged, stamp.top) == (1, 0):
        return sheet
    times, top = stamp.enlarged, stamp.top
    if top >= sheet.height or sheet.width % times or (sheet.height - top) % times:
        return sheet  # edited
    box = (0, top, sheet.width, sheet.height)
    return sheet.resize((sheet.width // times, (sheet.height - top) // times), Image.Resampling.NEAREST, box)
