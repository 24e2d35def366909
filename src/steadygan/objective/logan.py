"""LOGAN: optimisation of the latent before each update (Wu et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term, rewrites
from steadygan.objective.views import Gen, View
from steadygan.parallel.share import rows
from steadygan.schedules import Weight

# Wu et al., LOGAN, 2019: Δz from g (N, latent), α and β. The curvature of NGD is F' = g·gᵀ + βI for each sample, and
# F'⁻¹g = g/(β + ‖g‖²).
MOVES: Mapping[str, Callable[[Tensor, float, float], Tensor]] = MappingProxyType(
    {
        "gd": lambda g, alpha, beta: alpha * g,
        "ngd": lambda g, alpha, beta: alpha * g / (beta + g.square().sum(1, keepdim=True)),
    }
)


@dataclass(frozen=True)
class Climb(View):
    """z' = clip(z + Δz, -1, 1), Δz up the slope of D(G(z)), with z's labels (LOGAN, Wu et al., 2019).

    source: z (N, latent); net, critic: G and D; method: Δz = α·g ("gd") or α·g/(β + ‖g‖²) ("ngd"), where g (N, latent)
    is the gradient of the logit with respect to the elements that are moved: a random `fraction` of each sample's,
    drawn once; steps: how often. Image and critic are those of training, `pre_d` included. Δz is not detached: z'
    depends on the weights of both networks, with second-order terms. Raises UserError for an option out of range.
    """

    source: View
    net: str = "G"
    critic: str = "D"
    method: Literal["ngd", "gd"] = "ngd"
    alpha: float = 0.9
    beta: float = 0.1
    steps: int = 1
    fraction: float = 0.8

    def __post_init__(self) -> None:
        for wrong, rule in (
            (self.steps < 1, "steps must be at least 1"),
            (not 0 < self.fraction <= 1, "fraction must be above 0 and at most 1"),
            (self.beta <= 0, "beta must be above 0"),
            (self.method not in MOVES, f"method must be {' or '.join(MOVES)}"),
        ):
            if wrong:
                raise UserError(f"objective.terms.logan: {rule}")

    def compute(self, b: Bundle) -> Tensor:
        z, y = b[self.source], b.labels(self.source)
        if not z.requires_grad:
            z = z.detach().requires_grad_()
        count = max(1, round(self.fraction * z.shape[1]))
        # The ranks of independent draws are a random permutation.
        ranks = rows(torch.rand, z.shape, b.generator).argsort(1).argsort(1)
        moved = (ranks < count).to(z.dtype)
        for _ in range(self.steps):
            image = b.before_critic(b.nets[self.net](z, y), "fake")
            logit = b.nets[self.critic](image, y).logit
            (slope,) = torch.autograd.grad(logit.sum(), z, create_graph=True)
            z = (z + MOVES[self.method](slope * moved, self.alpha, self.beta)).clamp(-1, 1)
        return z


def _climbing(parts: Parts, *, weight: Weight, **options: object) -> Parts:
    climb = Climb(parts.fake.source, parts.fake.net, **options)  # type: ignore[arg-type]
    return replace(parts, fake=Gen(parts.fake.net, climb))


@rewrites(_climbing)
def logan(
    parts: Parts,
    *,
    method: Literal["ngd", "gd"] = "ngd",
    alpha: float = 0.9,
    beta: float = 0.1,
    steps: int = 1,
    fraction: float = 0.8,
    weight: Weight = 0.1,
) -> tuple[Term, ...]:
    """Fakes from the optimised latent for every term of both players, and w_r·E‖z' - z‖² added to both losses.

    Wu et al., LOGAN, 2019. The cost is of the way really gone, after clipping, summed over elements, as in the authors'
    CS-GAN code. Defaults are StudioGAN's for 32 px (β, fraction and w_r of the paper's own are unverified; it draws
    whole samples instead of elements). ImageNet, from the paper: alpha 0.9, beta 5, fraction 0.5, weight 300. Sampling
    takes z as it is. The prior must be uniform on [-1, 1].
    """
    if parts.prior is not None and parts.prior.kind != "uniform":
        raise UserError("objective.terms.logan keeps latents inside [-1, 1]; set model.prior=uniform")
    end = parts.fake.source
    assert isinstance(end, Climb)
    start = end.source

    def cost(b: Bundle) -> Tensor:
        return (b[end] - b[start]).square().sum(1).mean()

    return tuple(Term("logan", player, cost, views=(start, end), weight=weight) for player in ("D", "G"))
