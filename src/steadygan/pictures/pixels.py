"""Conversion between 8-bit pixels and the range [-1, 1] of networks."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """Converts uint8 0…255 to float32 in [-1, 1]: x / 127.5 − 1, on the images' device."""
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Converts float in [-1, 1] to the nearest uint8, clamping other values; the exact inverse of `to_float`."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
