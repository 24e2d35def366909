"""Grids of images, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from steadygan.files import write_whole
from steadygan.pictures.lettering import legible
from steadygan.pictures.scale import GAP, enlarged, enlargement
from steadygan.pictures.stamp import Stamp, saving

WIDEST = 16
NAME_SIZE, LONGEST_NAME = 11, 24


def to_pil(image: Tensor) -> Image.Image:
    """Converts a uint8 (C, H, W) image, C = 1 or 3, to a Pillow image."""
    array = image.cpu().numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def grid(images: Tensor, columns: int, *, gap: int = GAP) -> Image.Image:
    """Arranges uint8 images (N, C, H, W) row by row with `gap` white pixels between them."""
    pixels = images.cpu().numpy()
    n, c, h, w = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((c, rows * (h + gap) + gap, columns * (w + gap) + gap), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (h + gap) + gap, (index % columns) * (w + gap) + gap
        sheet[:, top : top + h, left : left + w] = image
    return Image.fromarray(sheet[0] if c == 1 else np.ascontiguousarray(sheet.transpose(1, 2, 0)))


def columns_for(num: int, classes: int) -> int:
    """The number of columns for `num` images: one per class if `classes` are used in turn, else a square grid.

    Few classes are repeated, so that a class stays in its columns; with more than 16 classes the grid is square.
    """
    if 2 <= classes <= WIDEST and num > 1:
        return min(num, classes * max(1, 8 // classes))
    return min(num, round(num**0.5) or 1)


def with_names(sheet: Image.Image, names: Sequence[str], columns: int, *, gap: int = GAP) -> Image.Image:
    """Adds names above the columns of a grid; long ones are rotated.

    Args:
        sheet: made by `grid`.
        names: of the columns, taken in turn.
        columns: how many there are.
        gap: between images, in pixels.
    """
    side = (sheet.width - gap) // columns
    shown, font = legible([shortened(name, LONGEST_NAME) for name in names], NAME_SIZE)
    upright = max(font.getlength(name) for name in shown) > side - gap
    height = (int(max(font.getlength(name) for name in shown)) if upright else NAME_SIZE) + 6
    made = Image.new(sheet.mode, (sheet.width, sheet.height + height), "white")
    made.paste(sheet, (0, height))
    for column in range(columns):
        name = shown[column % len(shown)]
        text = Image.new("L", (int(font.getlength(name)) + 2, NAME_SIZE + 4), "white")
        ImageDraw.Draw(text).text((1, 0), name, "black", font)
        text = text.rotate(90, expand=True) if upright else text
        left = gap + column * side + (side - gap - text.width) // 2
        made.paste(text, (max(0, left), max(0, height - text.height - 1)))
    return made


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def draw(images: Tensor, columns: int, names: Sequence[str] = (), *, times: int = 1) -> Image.Image:
    """A sheet of images with the names of its columns above it, if any.

    Args:
        images: uint8 (N, C, H, W).
        columns: images in a row.
        names: of the columns, taken in turn.
        times: whole number by which images are enlarged.
    """
    sheet = enlarged(grid(images, columns), times)
    return with_names(sheet, names, columns, gap=GAP * times) if names else sheet


def save_grid(images: Tensor, path: Path, columns: int, stamp: Stamp | None = None, names: Sequence[str] = ()) -> Path:
    """Writes a sheet as PNG atomically; small images are enlarged.

    Args:
        images: uint8 (N, C, H, W).
        path: the file.
        columns: images in a row.
        stamp: what made them, written into the file.
        names: of the columns, taken in turn, to be written above them.
    """
    times = enlargement(images.shape[3], columns)
    bare = draw(images, columns, times=times)
    sheet = with_names(bare, names, columns, gap=GAP * times) if names else bare
    options = {}
    if stamp is not None:
        top = sheet.height - bare.height
        options = saving(replace(stamp, enlarged=times, top=top, named=bool(names)), "PNG")
    write_whole(path, lambda temporary: sheet.save(temporary, format="PNG", **options))
    return path
