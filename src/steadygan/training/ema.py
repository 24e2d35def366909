"""The exponential moving average of a generator's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from steadygan.schedules import Schedule, value


class EMA:
    """A copy of `net` whose weights follow it: w̄ ← d·w̄ + (1 - d)·w with d = 2^(-1/half_life) per update.

    Buffers (spectral-norm vectors) are copied. Batch-norm statistics must be recomputed for the averaged weights before
    use (`generators.sampling.standing_statistics`).

    Args:
        net: the network whose weights are averaged.
        start: number of G steps before averaging starts; until then the copy is exact.
        half_life: in updates, a number or a schedule; None or 0: the copy is always exact.
    """

    def __init__(self, net: nn.Module, *, start: int, half_life: float | Schedule | None) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.start, self.half_life = start, half_life

    @torch.no_grad()
    def update(self, net: nn.Module, step: int) -> None:
        """Updates the average with the weights of `net`, after G step number `step` (from 0)."""
        half_life = value(self.half_life or 0.0, step)
        decay = 0.5 ** (1 / half_life) if step >= self.start and half_life > 0 else 0.0
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - decay)
        if buffers := list(net.buffers()):
            torch._foreach_copy_(list(self.net.buffers()), buffers)
