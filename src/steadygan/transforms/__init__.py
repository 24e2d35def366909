"""Random image transforms: frozen values called `T(x, generator) -> x'` on batches of floating-point images."""

from __future__ import annotations

from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

__all__ = ["Consistency", "DiffAugment"]
