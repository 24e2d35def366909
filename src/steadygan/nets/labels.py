"""Looking class labels up in tables."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def required(y: Tensor | None) -> Tensor:
    """The labels of a conditional network. Raises ValueError when there are none."""
    if y is None:
        raise ValueError("a conditional network needs labels: pass y, or build it with classes=0")
    return y


def look_up(table: Tensor, y: Tensor) -> Tensor:
    """The rows (N, F) of `table` (classes, F) that labels y (N,) int64 name, or weights y (N, classes) float mix.

    Weights that sum to 1 lie between classes: what interpolation needs of every network with labels.
    """
    return y.to(table.dtype) @ table if y.is_floating_point() else F.embedding(y, table)
