"""Random image transforms: frozen callables `T(x, generator) -> x'` on batches of floating-point images.

A transform that adapts to D is an `Adaptive`, or has one (`Controller`); checkpoints contain its state.
"""

from __future__ import annotations

from steadygan.transforms.ada import ADA
from steadygan.transforms.adaptive import Adaptive, Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

__all__ = ["ADA", "Adaptive", "Chain", "Consistency", "Controller", "DiffAugment"]
