"""Random image transforms: frozen values called `T(x, generator) -> x'` on batches of images."""

from __future__ import annotations

from steadygan.transforms.consistency import Consistency

__all__ = ["Consistency"]
