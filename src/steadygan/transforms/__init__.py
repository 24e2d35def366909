"""Random image transforms: frozen values called `T(x, generator) -> x'` on batches of floating-point images.

One that adapts to D has a `Controller`, whose state is part of every checkpoint.
"""

from __future__ import annotations

from steadygan.transforms.ada import ADA
from steadygan.transforms.adaptive import Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

__all__ = ["ADA", "Chain", "Consistency", "Controller", "DiffAugment"]
