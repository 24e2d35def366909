"""CR, bCR, zCR, R1 and WGAN-GP in closed form: a linear D, an affine generator, deterministic transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS
from steadygan.objective.terms import Term
from steadygan.objective.views import Aug, Gen, Latent, Lerp, Nudge, Real

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT, SHAPE = 5, 3, (2, 4, 4)
PIXELS = 32


class LinearCritic(nn.Module):
    """D(x) = ⟨w, x⟩ + b."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(PIXELS)), nn.Parameter(torch.randn(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1) @ self.w + self.b)


class QuadraticCritic(nn.Module):
    """D(x) = a‖x‖²/2, whose gradient is a·x."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(0.5 * self.a * x.flatten(1).square().sum(1))


class AffineGenerator(nn.Module):
    """G(z) = A z + c, as an image."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Parameter(torch.randn(PIXELS, LATENT)), nn.Parameter(torch.randn(PIXELS))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.a.T + self.c).view(len(z), *SHAPE)


@dataclass(frozen=True)
class Negated:
    """T(x) = -x."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return -x


@dataclass(frozen=True)
class Brightened:
    """T(x) = x + by."""

    by: float

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x + self.by


def bundle(terms: Sequence[Term], critic: nn.Module | None = None, size: int = N) -> Bundle:
    x = torch.randn(size, *SHAPE, generator=torch.Generator().manual_seed(1))
    nets = {"D": critic or LinearCritic(), "G": AffineGenerator()}
    b = Bundle(nets, Prior(LATENT), torch.Generator().manual_seed(2), size=size, given={Real(): (x, None)})
    b.prepare(terms)
    return b


def gradient(term: Term, b: Bundle, parameter: Tensor) -> Tensor:
    return torch.autograd.grad(term.loss(b), parameter)[0]


def test_cr_of_a_linear_critic_under_negation() -> None:
    (term,) = TERMS["cr"](Game.of(Negated()), weight=7.0)
    b = bundle([term])
    w, x = b.nets["D"].w.detach(), b[Real()].flatten(1)
    torch.testing.assert_close(term.loss(b), (4 * (x @ w).square()).mean())
    assert (term.player, term.weight) == ("D", 7.0)
    # 8 E⟨w, x⟩x is what both sides of the pair give together; either side alone gives half of it.
    torch.testing.assert_close(gradient(term, b, b.nets["D"].w), (8 * (x @ w)[:, None] * x).mean(0))


def test_bcr_compares_reals_with_reals_and_fakes_with_fakes() -> None:
    real, fake = TERMS["bcr"](Game.of(Negated()), real=2.0, fake=3.0)
    b = bundle([real, fake])
    w, bias = b.nets["D"].w.detach(), b.nets["D"].b.detach()
    x, g = b[Real()].flatten(1), b[Gen("G", Latent())].flatten(1)
    torch.testing.assert_close(real.loss(b), (4 * (x @ w).square()).mean())
    torch.testing.assert_close(fake.loss(b).detach(), (4 * (g @ w).square()).mean().detach())
    torch.testing.assert_close(b.D(Aug(Negated(), Real())).logit, -(x @ w) + bias)
    assert [(t.name, t.player, t.weight) for t in (real, fake)] == [("bcr_real", "D", 2.0), ("bcr_fake", "D", 3.0)]


def test_bcr_of_a_linear_critic_under_a_constant_is_the_same_for_every_image() -> None:
    real, fake = TERMS["bcr"](Game.of(Brightened(0.3)))
    b = bundle([real, fake])
    expected = (0.3 * b.nets["D"].w.sum()).square()
    torch.testing.assert_close(real.loss(b), expected)
    torch.testing.assert_close(fake.loss(b), expected)


def test_bcr_leaves_the_generators_loss_alone() -> None:
    assert {term.player for term in TERMS["bcr"](Game.of(Negated()))} == {"D"}


def zcr() -> tuple[Term, Term, Bundle, Tensor]:
    """The two terms, their bundle and Δz."""
    dis, gen = TERMS["zcr"](Game.of(), dis=5.0, gen=0.5, sigma=0.1)
    b = bundle([dis, gen])
    return dis, gen, b, b[Nudge(Latent(), 0.1)] - b[Latent()]


def test_zcr_for_the_critic_is_the_squared_difference_of_the_two_logits() -> None:
    dis, _, b, delta = zcr()
    w, a = b.nets["D"].w.detach(), b.nets["G"].a.detach()
    torch.testing.assert_close(dis.loss(b).detach(), (delta @ a.T @ w).square().mean())
    assert (dis.player, dis.weight) == ("D", 5.0)


def test_zcr_for_the_generator_rewards_distance_averaged_over_pixels() -> None:
    _, gen, b, delta = zcr()
    a = b.nets["G"].a
    moved = delta @ a.detach().T
    torch.testing.assert_close(gen.loss(b).detach(), -moved.square().sum() / (N * PIXELS))
    assert gen.loss(b) < 0
    assert (gen.player, gen.weight) == ("G", 0.5)
    assert not gen.score
    torch.testing.assert_close(gradient(gen, b, a), -2 / (N * PIXELS) * moved.T @ delta)


def test_the_nudge_has_sigma_as_standard_deviation() -> None:
    b = bundle([], size=4000)
    delta = b[Nudge(Latent(), 0.05)] - b[Latent()]
    assert float(delta.std()) == pytest.approx(0.05, rel=0.03)
    assert abs(float(delta.mean())) < 0.002


def test_r1_of_a_linear_critic_is_half_its_squared_norm() -> None:
    (term,) = TERMS["r1"](Game.of(), gamma=4.0)
    b = bundle([term])
    w = b.nets["D"].w
    torch.testing.assert_close(term.loss(b).detach(), 0.5 * w.detach().square().sum())
    torch.testing.assert_close(gradient(term, b, w), w.detach())
    assert (term.player, term.weight) == ("D", 4.0)


def test_r1_is_averaged_over_the_batch_of_reals_and_trains_the_critic() -> None:
    critic = QuadraticCritic()
    (term,) = TERMS["r1"](Game.of())
    b = bundle([term], critic)
    x = b[Real()].flatten(1)
    torch.testing.assert_close(term.loss(b).detach(), 0.5 * (1.5 * x).square().sum(1).mean())
    torch.testing.assert_close(gradient(term, b, critic.a), 1.5 * x.square().sum(1).mean())


def test_wgan_gp_of_a_linear_critic() -> None:
    (term,) = TERMS["gp"](Game.of(), weight=3.0)
    b = bundle([term])
    w = b.nets["D"].w
    norm = w.detach().norm()
    torch.testing.assert_close(term.loss(b).detach(), (norm - 1).square())
    torch.testing.assert_close(gradient(term, b, w), 2 * (norm - 1) * w.detach() / norm)
    assert (term.player, term.weight) == ("D", 3.0)


def test_wgan_gp_pulls_towards_its_target() -> None:
    (term,) = TERMS["gp"](Game.of(), target=0.25)
    b = bundle([term])
    torch.testing.assert_close(term.loss(b), (b.nets["D"].w.norm() - 0.25).square())


@pytest.mark.parametrize(("norm", "expected"), [(0.5, 0.0), (3.0, 4.0)])
def test_the_one_sided_penalty_ignores_norms_below_the_target(norm: float, expected: float) -> None:
    critic = LinearCritic()
    with torch.no_grad():
        critic.w.mul_(norm / critic.w.norm())
    (one_sided,) = TERMS["gp"](Game.of(), one_sided=True)
    (two_sided,) = TERMS["gp"](Game.of())
    b = bundle([one_sided, two_sided], critic)
    assert float(one_sided.loss(b).detach()) == pytest.approx(expected, abs=1e-12)
    assert float(two_sided.loss(b).detach()) == pytest.approx((norm - 1) ** 2)


def test_wgan_gp_looks_at_points_between_each_real_and_its_fake() -> None:
    critic = QuadraticCritic()
    (term,) = TERMS["gp"](Game.of())
    b = bundle([term], critic, size=64)
    x, g = b[Real()].flatten(1), b[Gen("G", Latent())].flatten(1)
    between = b[Lerp(Real(), Gen("G", Latent()))].flatten(1)
    share = (between - x) / (g - x)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-8, atol=1e-8)
    assert 0 <= float(share.detach().min()) < 0.1
    assert 0.9 < float(share.detach().max()) <= 1
    torch.testing.assert_close(term.loss(b), ((1.5 * between).norm(dim=1) - 1).square().mean())


@pytest.mark.parametrize("name", ["r1", "gp"])
def test_a_lazy_penalty_is_live_in_every_nth_phase_from_the_first(name: str) -> None:
    (term,) = TERMS[name](Game.of(), every=3)
    assert [term.live(phase) for phase in range(7)] == [True, False, False, True, False, False, True]
