"""The prior: the distribution of latents and labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.parallel.share import rows

PriorKind = Literal["normal", "uniform", "truncated"]
Law = Literal["redrawn", "scaled"]
Truncation = float | str
"""A truncation t > 0 in the prior's own way, or explicitly "redrawn:0.5" or "scaled:0.5"."""

CUT = 2.0
"""The bound of the truncated prior, as in BigGAN's released generators."""


class Cut(NamedTuple):
    """A truncation: the threshold t, and how it is applied; None: the prior's own way."""

    threshold: float
    law: Law | None = None


def read_truncation(given: Truncation) -> Cut:
    """Parses a truncation. Raises `UserError` if it is invalid."""
    name, _, number = given.rpartition(":") if isinstance(given, str) else ("", "", given)
    law = next((known for known in get_args(Law) if known == name.strip()), None)
    try:
        threshold = float(number)
    except ValueError:
        threshold = 0.0
    if (name and law is None) or not 0 < threshold < float("inf"):
        raise UserError(f"truncation must be positive, such as 0.5, redrawn:0.5 or scaled:0.5; got {given}")
    return Cut(threshold, law)


@dataclass(frozen=True, eq=False)
class Prior:
    """p(z) and p(y) of the fakes.

    Attributes:
        latent: the dimension of z.
        kind: N(0, I), U(-1, 1), or N(0, I) within ±2.
        label_pool: int64 tensor from which labels are drawn (`arange(classes)` for uniform labels, the training labels
            for the data's distribution); None if unconditional.
    """

    latent: int
    kind: PriorKind = "normal"
    label_pool: Tensor | None = None

    def latents(
        self,
        num: int,
        generator: torch.Generator,
        *,
        truncation: Truncation | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Draws z (num, latent) on the generator's device.

        Redrawn, as in the paper: elements of N(0, 1) outside [-t, t] are drawn again until they are inside (BigGAN,
        Brock et al., ICLR 2019, §3.1), implemented with the inverse of the truncated cumulative distribution. Scaled,
        as in BigGAN's released generators: t times N(0, 1) truncated to ±2. At t = ½ the standard deviations are 0.28
        and 0.44.

        Args:
            num: number of latents.
            generator: the source of randomness.
            truncation: t > 0, or a string such as "redrawn:0.5". By default the normal prior redraws and the truncated
                one scales. For the uniform prior both reduce the range to [-t, t], t <= 1.
            dtype: of z; None: torch's default.
        """
        shape, device = (num, self.latent), generator.device
        cut = None if truncation is None else read_truncation(truncation)
        if self.kind == "uniform":
            bound = 1.0 if cut is None else min(cut.threshold, 1.0)
            return rows(torch.rand, shape, generator, dtype=dtype).mul_(2 * bound).sub_(bound)
        if cut is None and self.kind == "normal":
            return rows(torch.randn, shape, generator, dtype=dtype)
        edge, scale = self._edge_and_scale(cut)
        uniform = rows(torch.rand, shape, generator, dtype=torch.float64)
        tail = torch.special.ndtr(torch.tensor(-edge, dtype=torch.float64, device=device))
        z = torch.special.ndtri(tail + uniform * (1 - 2 * tail)).clamp_(-edge, edge).mul_(scale)
        return z.to(dtype or torch.get_default_dtype())

    def law(self, cut: Cut) -> Law:
        """How a truncation is applied: explicitly given, or this prior's way."""
        return cut.law or ("scaled" if self.kind == "truncated" else "redrawn")

    def _edge_and_scale(self, cut: Cut | None) -> tuple[float, float]:
        """The bound of N(0, 1), and the factor applied after truncation."""
        if cut is None or self.law(cut) == "scaled":
            return CUT, 1.0 if cut is None else cut.threshold
        return (min(cut.threshold, CUT) if self.kind == "truncated" else cut.threshold), 1.0

    def labels(self, num: int, generator: torch.Generator) -> Tensor | None:
        """Draws y (num,) int64; None if unconditional."""
        if self.label_pool is None:
            return None
        return self.label_pool[rows(partial(torch.randint, len(self.label_pool)), (num,), generator)]
