"""Lookup of class labels in tables."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def required(y: Tensor | None) -> Tensor:
    """The labels for a conditional network. Raises ValueError if there are none."""
    if y is None:
        raise ValueError("a conditional network needs labels: pass y, or build it with classes=0")
    return y


def look_up(table: Tensor, y: Tensor) -> Tensor:
    """The rows (N, F) of `table` (classes, F) selected by labels y (N,) int64, or mixed by weights y (N, classes)
    float.

    Weights that sum to 1 interpolate between classes.
    """
    return y.to(table.dtype) @ table if y.is_floating_point() else F.embedding(y, table)
