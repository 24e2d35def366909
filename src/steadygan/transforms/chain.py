"""Composition of transforms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Transform = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Chain:
    """Applies transforms in order."""

    transforms: tuple[Transform, ...]

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x: (N, C, H, W) floating in [-1, 1]; generator: on x's device. Same shape."""
        for transform in self.transforms:
            x = transform(x, generator)
        return x
