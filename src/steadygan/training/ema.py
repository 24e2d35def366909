"""The exponential moving average of a generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """A copy of `net` whose weights follow it: w̄ ← d·w̄ + (1 - d)·w with d = 2^(-1/half_life) per update.

    Before step `start`, and always when `half_life` is None, the copy is exact. Buffers
    (spectral-norm vectors) are copied; batch-norm statistics of averaged weights must be gathered anew before use
    (`nets.sampling.standing_statistics`).
    """

    def __init__(self, net: nn.Module, *, start: int, half_life: float | None) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.start, self.decay = start, 0.0 if half_life is None else 0.5 ** (1 / half_life)

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Takes in `net` after G step number `step` (from 0)."""
        decay = self.decay if step >= self.start else 0.0
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)
        if buffers := list(net.buffers()):
            torch._foreach_copy_(list(self.net.buffers()), buffers)
