"""Images to look at: a sheet of samples in one PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from steadygan.files import write_whole


def to_pil(image: Tensor) -> Image.Image:
    """One uint8 (C, H, W) image, C = 1 or 3, as a Pillow image."""
    array = image.cpu().numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def grid(images: Tensor, columns: int, *, gap: int = 2) -> Image.Image:
    """Uint8 images (N, C, H, W) as one sheet, row by row, `gap` pixels of white between them."""
    pixels = images.cpu().numpy()
    n, c, h, w = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((c, rows * (h + gap) + gap, columns * (w + gap) + gap), 255, np.uint8)
    for index, image in enumerate(pixels):
        top, left = (index // columns) * (h + gap) + gap, (index % columns) * (w + gap) + gap
        sheet[:, top : top + h, left : left + w] = image
    return Image.fromarray(sheet[0] if c == 1 else np.ascontiguousarray(sheet.transpose(1, 2, 0)))


def save_grid(images: Tensor, path: Path, columns: int, options: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes a sheet of uint8 images (N, C, H, W) as PNG, whole or not at all.

    options: of Pillow's `Image.save`, such as a stamp (`stamp.saving`).
    """
    sheet = grid(images, columns)
    write_whole(path, lambda temporary: sheet.save(temporary, format="PNG", **options))
    return path
