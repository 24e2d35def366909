"""LOGAN: optimisation of the latent before each update (Wu et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.batch import Batch, ScoredBatch, View
from steadygan.objective.declarations import needs, rewrites
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen
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
    """z' = clip(z + Δz, -1, 1), with Δz along the gradient of D(G(z)), and z's labels (LOGAN, Wu et al., 2019).

    Images pass through `pre_d` as in training. Δz is not detached: z' depends on the weights of both networks, with
    second-order terms. Raises UserError for an option out of range.

    Attributes:
        source: z (N, latent).
        net, critic: G and D.
        method: Δz = α·g ("gd") or α·g/(β + ‖g‖²) ("ngd"), where g (N, latent) is the gradient of the logit with respect
            to a random `fraction` of each sample's elements, drawn once.
        alpha, beta, fraction: see `method`.
        steps: number of updates.
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

    def compute(self, b: Batch) -> Tensor:
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


def _climbing(game: Game, *, weight: Weight, paid_by: str, **options: object) -> Game:
    climb = Climb(game.fake.source, game.fake.net, **options)  # type: ignore[arg-type]
    return replace(game, fake=Gen(game.fake.net, climb))


@needs("latent", "uniform_prior")
@rewrites(_climbing)
def logan(
    game: Game,
    *,
    method: Literal["ngd", "gd"] = "ngd",
    alpha: float = 0.9,
    beta: float = 0.1,
    steps: int = 1,
    fraction: float = 0.8,
    weight: Weight = 0.1,
    paid_by: Literal["both", "G", "D"] = "both",
) -> tuple[Term, ...]:
    """Fakes from the optimised latent for every term of both players, and w_r·E‖z' - z‖² added to both losses.

    Wu et al., LOGAN, 2019. The cost is of the actual displacement, after clipping, summed over elements, as in the
    authors' CS-GAN code. The player that pays it differs: both in StudioGAN, G alone in CS-GAN. Defaults are
    StudioGAN's for 32 px (the paper's own β, fraction and w_r are unverified; it draws whole samples instead of
    elements). ImageNet, from the paper: alpha 0.9, beta 5, fraction 0.5, weight 300. Sampling uses z unchanged. The
    prior must be uniform on [-1, 1].

    Args:
        method: ngd: natural gradient descent; gd: gradient descent.
        alpha: α, the step size.
        beta: β, damping of the natural gradient.
        steps: latent updates before each update of a player.
        fraction: fraction of the latent's elements that are updated.
        weight: w_r, the weight of the distance travelled.
        paid_by: the players whose losses include that cost.
    """
    end = game.fake.source
    assert isinstance(end, Climb)
    start = end.source

    def cost(b: ScoredBatch) -> Tensor:
        return (b[end] - b[start]).square().sum(1).mean()

    payers = ("D", "G") if paid_by == "both" else (paid_by,)
    return tuple(Term("logan", player, cost, views=(start, end), weight=weight) for player in payers)
