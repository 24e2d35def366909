"""Dynamic loss scaling, without which the gradients of float16 networks vanish (Micikevicius et al., ICLR 2018, §3.2).

The loss is multiplied by a power of two before the backward pass and the gradients are divided by it after, which moves
them into the range of float16. The scale grows until gradients overflow, which shows as infinities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

START, LEAST, MOST = 2.0**16, 1.0, 2.0**24
PATIENCE = 2000
"""Consecutive phases without an overflow after which the scale doubles."""


class FullRange(nn.Module):
    """Stand-in for a loss scale where none is needed: float32, and bfloat16, which has the range of float32."""

    def forward(self, loss: Tensor) -> Tensor:
        """The scaled loss, to be differentiated."""
        return loss

    def undo_(self, gradients: Sequence[Tensor]) -> None:
        """Unscales gradients in place."""

    def follow(self, failed: Tensor) -> Tensor:
        """Updates the scale: the phase's gradient was finite (`failed` 0) or not (1). Returns 1 if the scale is not the
        cause."""
        return failed

    def values(self, player: str) -> dict[str, Tensor]:
        """Values to log."""
        return {}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raises ValueError unless `saved` is a state of this class."""


class LossScale(FullRange):
    """One player's loss scale, kept on the device without synchronisation.

    An overflow skips the update, halves the scale and is counted in `overflows`. At a scale of 1, a non-finite gradient
    is not an overflow; it counts as a skipped phase.
    """

    scale: Tensor
    streak: Tensor
    overflows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(START, dtype=torch.float32))
        self.register_buffer("streak", torch.zeros((), dtype=torch.int64))
        self.register_buffer("overflows", torch.zeros((), dtype=torch.int64))

    def forward(self, loss: Tensor) -> Tensor:
        return loss * self.scale

    def undo_(self, gradients: Sequence[Tensor]) -> None:
        if gradients:
            torch._foreach_mul_(list(gradients), 1 / self.scale)  # a power of two: exact

    @torch.no_grad()
    def follow(self, failed: Tensor) -> Tensor:
        overflow = failed * (self.scale > LEAST)
        self.streak.add_(1).mul_(1 - failed.to(self.streak))
        rested = self.streak >= PATIENCE
        factor = torch.where(overflow > 0, 0.5, 1.0) * torch.where(rested, 2.0, 1.0)
        self.scale.mul_(factor.to(self.scale)).clamp_(LEAST, MOST)
        self.streak.mul_(~rested)
        self.overflows.add_(overflow.to(self.overflows))
        return failed - overflow

    def values(self, player: str) -> dict[str, Tensor]:
        return {f"{player}/loss_scale": self.scale.clone(), f"{player}/overflows": self.overflows.float()}

    def check(self, saved: Mapping[str, Any]) -> None:
        for name, own in self.state_dict().items():
            value = saved.get(name)
            if not isinstance(value, Tensor) or value.shape != own.shape or value.dtype != own.dtype:
                raise ValueError(f"the loss scale's {name} is {value!r}")
            if not 0 <= float(value) < 2**62:
                raise ValueError(f"the loss scale's {name} is {float(value)}")
        if not LEAST <= float(saved["scale"]) <= MOST or math.frexp(float(saved["scale"]))[0] != 0.5:
            raise ValueError(f"the loss scale is {float(saved['scale'])}, not a power of two from 1 to 2^24")
