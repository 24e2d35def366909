"""Random image transforms: frozen values called `T(x, generator) -> x'` on batches of floating-point images.

One that adapts to D is an `Adaptive`, or has one (`Controller`); its state is part of every checkpoint.
"""

from __future__ import annotations

from steadygan.transforms.ada import ADA
from steadygan.transforms.adaptive import Adaptive, Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

__all__ = ["ADA", "Adaptive", "Chain", "Consistency", "Controller", "DiffAugment"]
