"""The prior over latents and labels from which every fake is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from steadygan.parallel.share import rows

PriorKind = Literal["normal", "uniform", "truncated"]

CUT = 2.0
"""Beyond which the truncated prior has nothing, as in BigGAN's released generators."""


@dataclass(frozen=True, eq=False)
class Prior:
    """p(z) and p(y) of the fakes.

    latent: the dimension of z; kind: N(0, I), U(-1, 1), or N(0, I) within ±2; label_pool: int64 tensor from which
    labels are drawn uniformly (`arange(classes)` for uniform labels, the training labels for the data's frequencies),
    None when unconditional.
    """

    latent: int
    kind: PriorKind = "normal"
    label_pool: Tensor | None = None

    def latents(
        self,
        num: int,
        generator: torch.Generator,
        *,
        truncation: float | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """z (num, latent) on the generator's device.

        `truncation` = t > 0 redraws every element of N(0, 1) that falls outside [-t, t] until it falls inside (BigGAN,
        Brock et al., ICLR 2019, §3.1), here in one draw through the inverse of the truncated cumulative distribution.
        For the uniform prior it shrinks the range to [-t, t], t <= 1. The truncated prior's z is multiplied by t, as in
        BigGAN's released generators.
        """
        shape, device = (num, self.latent), generator.device
        if truncation is not None and truncation <= 0:
            raise ValueError(f"truncation must be positive, got {truncation}")
        if self.kind == "uniform":
            bound = min(truncation or 1.0, 1.0)
            return rows(torch.rand, shape, generator, dtype=dtype).mul_(2 * bound).sub_(bound)
        scale = 1.0
        if self.kind == "truncated":
            scale, truncation = truncation or 1.0, CUT
        if truncation is None:
            return rows(torch.randn, shape, generator, dtype=dtype)
        uniform = rows(torch.rand, shape, generator, dtype=torch.float64)
        tail = torch.special.ndtr(torch.tensor(-truncation, dtype=torch.float64, device=device))
        z = torch.special.ndtri(tail + uniform * (1 - 2 * tail)).clamp_(-truncation, truncation).mul_(scale)
        return z.to(dtype or torch.get_default_dtype())

    def labels(self, num: int, generator: torch.Generator) -> Tensor | None:
        """y (num,) int64, or None when unconditional."""
        if self.label_pool is None:
            return None
        return self.label_pool[rows(partial(torch.randint, len(self.label_pool)), (num,), generator)]
