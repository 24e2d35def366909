"""The prior over latents and labels from which every fake is made."""

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
"""t above 0 in the law of the prior, or in one by name: "redrawn:0.5", "scaled:0.5"."""

CUT = 2.0
"""Beyond which the truncated prior has nothing, as in BigGAN's released generators."""


class Cut(NamedTuple):
    """A truncation: t, and how it is meant, None as the prior has it."""

    threshold: float
    law: Law | None = None


def read_truncation(given: Truncation) -> Cut:
    """Reads a truncation. Raises `UserError` for what is none."""
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
        truncation: Truncation | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """z (num, latent) on the generator's device.

        Redrawn, as in the paper: every element of N(0, 1) that falls outside [-t, t] is drawn again until it falls
        inside (BigGAN, Brock et al., ICLR 2019, §3.1), here in one draw through the inverse of the truncated cumulative
        distribution. Scaled, as in BigGAN's released generators: t times N(0, 1) within ±2. At t = ½ the standard
        deviations are 0.28 and 0.44.

        Args:
            num: number of latents.
            generator: the source of randomness.
            truncation: t > 0, or a text such as "redrawn:0.5". Without a name the normal prior redraws and the
                truncated one scales. For the uniform prior either shrinks the range to [-t, t], t <= 1.
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
        """How a truncation is meant: as it says, or as this prior has it."""
        return cut.law or ("scaled" if self.kind == "truncated" else "redrawn")

    def _edge_and_scale(self, cut: Cut | None) -> tuple[float, float]:
        """Beyond which there is nothing of N(0, 1), and what the rest is multiplied by."""
        if cut is None or self.law(cut) == "scaled":
            return CUT, 1.0 if cut is None else cut.threshold
        return (min(cut.threshold, CUT) if self.kind == "truncated" else cut.threshold), 1.0

    def labels(self, num: int, generator: torch.Generator) -> Tensor | None:
        """y (num,) int64, or None when unconditional."""
        if self.label_pool is None:
            return None
        return self.label_pool[rows(partial(torch.randint, len(self.label_pool)), (num,), generator)]
