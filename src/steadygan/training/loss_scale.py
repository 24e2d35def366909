"""Dynamic loss scaling, without which the gradients of float16 networks vanish (Micikevicius et al., ICLR 2018, §3.2).

The loss is multiplied by a power of two before the backward pass, and the gradients are divided by it after: the same
numbers, moved into the range of float16. The scale is as large as it can be without an overflow, which tells of itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

START, LEAST, MOST = 2.0**16, 1.0, 2.0**24
PATIENCE = 2000
"""Phases in a row without an overflow after which the scale is doubled."""


class FullRange(nn.Module):
    """In the place of a scale where numbers have the range of float32, as bfloat16 has: it changes nothing."""

    def forward(self, loss: Tensor) -> Tensor:
        """What is differentiated in place of the loss."""
        return loss

    def undo_(self, gradients: Sequence[Tensor]) -> None:
        """Makes gradients of the loss, in place, of what they are."""

    def follow(self, failed: Tensor) -> Tensor:
        """Learns whether the phase's gradient was finite (`failed` 0) or not (1); returns 1 for a fault of the loss."""
        return failed

    def values(self, player: str) -> dict[str, Tensor]:
        """What is logged of it."""
        return {}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raises ValueError unless a saved state is one."""


class LossScale(FullRange):
    """One player's scale; all on its device, which nothing here waits for.

    An overflow changes no parameter, halves the scale and is counted in `overflows`. At a scale of 1 a gradient that is
    not finite is none of the scale's: it counts as a skipped phase.
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
            raise ValueError(f"the loss scale is {float(saved['scale'])}, which is no power of two from 1 to 2^24")
