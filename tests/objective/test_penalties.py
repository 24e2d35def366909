"""DRAGAN and JS-Reg: the noise's distribution, the penalties in closed form, the annealing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Jitter, Latent, Real

pytestmark = pytest.mark.usefixtures("float64")

X, G = Real(), Gen("G", Latent())
PIXELS = 32


class QuadraticCritic(nn.Module):
    """D(x) = a‖x‖²/2 + b, whose gradient is a·x."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(-0.7))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(0.5 * self.a * x.flatten(1).square().sum(1) + self.b)


class Painter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, PIXELS)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.linear(z).view(-1, 2, 4, 4)


def bundle(terms: Sequence[Term], size: int = 5, x: Tensor | None = None) -> Bundle:
    x = torch.randn(size, 2, 4, 4, generator=torch.Generator().manual_seed(1)) if x is None else x
    nets = {"D": QuadraticCritic(), "G": Painter()}
    b = Bundle(nets, Prior(3), torch.Generator().manual_seed(2), size=len(x), given={X: (x, None)})
    b.prepare(terms)
    return b


def test_jitter_is_one_share_per_sample_of_positive_noise_of_half_the_batchs_deviation() -> None:
    b = bundle([], size=2000)
    x, noise = b[X], (b[Jitter(X)] - b[X]).flatten(1)
    reach = 0.5 * float(x.flatten().square().mean().sub(x.mean().square()).sqrt())
    assert float(noise.min()) >= 0
    assert 0.98 * reach < float(noise.max()) <= reach
    # Given its share a, a pixel is uniform on [0, a·reach]: the largest of 32 is a·reach·32/33 on average, a ~ U(0, 1).
    largest = noise.max(1).values / reach
    assert float(largest.mean()) == pytest.approx(0.5 * PIXELS / (PIXELS + 1), rel=0.04)
    # E U·E a = 1/4; pixels of one sample share a: their covariance is var(a)·(E U)² = 1/48.
    assert float(noise.mean()) == pytest.approx(reach / 4, rel=0.03)
    assert float((noise[:, ::2] * noise[:, 1::2]).mean() / reach**2 - 1 / 16) == pytest.approx(1 / 48, rel=0.1)
    assert torch.equal(b[Jitter(X, 0.0)], x)


def test_dragan_is_the_penalty_at_the_jittered_real() -> None:
    (term,) = TERMS["dragan"](Game.of())
    b = bundle([term])
    norm = (0.3 * b[Jitter(X)]).flatten(1).norm(dim=1)
    torch.testing.assert_close(term.loss(b).detach(), (norm - 1).square().mean())
    assert (term.name, term.player, term.weight, term.every) == ("dragan", "D", 10.0, 1)
    term.loss(b).backward()
    assert b.nets["D"].a.grad.abs() > 0


def test_dragan_takes_a_target_a_scale_and_one_side() -> None:
    two, one = (TERMS["dragan"](Game.of(), target=1.85, scale=0.1, one_sided=side)[0] for side in (False, True))
    b = bundle([two, one])
    excess = (0.3 * b[Jitter(X, 0.1)]).flatten(1).norm(dim=1) - 1.85
    assert 0 < int((excess > 0).sum()) < len(excess)
    torch.testing.assert_close(two.loss(b).detach(), excess.square().mean())
    torch.testing.assert_close(one.loss(b).detach(), excess.relu().square().mean())


def test_dragan_does_not_look_at_fakes() -> None:
    (term,) = TERMS["dragan"](Game.of())
    assert G not in term.needs


def test_jsreg_weighs_squared_slopes_by_how_wrong_the_critic_is() -> None:
    (term,) = TERMS["jsreg"](Game.of())
    b = bundle([term])
    total = torch.zeros(())
    for view, wrong in ((X, lambda p: 1 - p), (G, lambda p: p)):
        squared = b[view].detach().flatten(1).square().sum(1)
        logit = 0.5 * b.nets["D"].a * squared + b.nets["D"].b
        total = total + (wrong(torch.sigmoid(logit)).square() * b.nets["D"].a.square() * squared).mean()
    torch.testing.assert_close(term.loss(b), 0.5 * total)
    assert (term.name, term.player, term.weight) == ("jsreg", "D", 0.1)
    # The weights are not detached: b has a gradient although no slope depends on it.
    actual = torch.autograd.grad(term.loss(b), [b.nets["D"].a, b.nets["D"].b])
    expected = torch.autograd.grad(0.5 * total, [b.nets["D"].a, b.nets["D"].b])
    torch.testing.assert_close(actual, expected)
    assert abs(float(actual[1])) > 1e-3


def test_jsreg_is_finite_for_logits_far_out() -> None:
    (term,) = TERMS["jsreg"](Game.of())
    b = bundle([term], x=torch.full((3, 2, 4, 4), 100.0))
    assert float(b.D(X).logit.min().detach()) > 40_000
    assert term.loss(b).isfinite()


def test_annealing_goes_down_geometrically_and_stays() -> None:
    (term,) = TERMS["jsreg"](Game.of(), gamma=2.0, anneal=1000)
    assert term.strength(0) == 2.0
    assert term.strength(500) == pytest.approx(2 * math.sqrt(0.01))
    assert term.strength(1000) == pytest.approx(0.02)
    assert term.strength(5000) == pytest.approx(0.02)
    (plain,) = TERMS["jsreg"](Game.of(), gamma=2.0)
    assert plain.strength(5000) == 2.0


@pytest.mark.parametrize("options", [{"anneal": -1}, {"decay": 0.0}, {"decay": 1.5}])
def test_an_impossible_annealing_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"objective\.terms\.jsreg: anneal must be .* decay above 0"):
        TERMS["jsreg"](Game.of(), **options)


@pytest.mark.parametrize("name", ["dragan", "jsreg"])
def test_the_lazy_schedule_is_that_of_all_penalties(name: str) -> None:
    (term,) = TERMS[name](Game.of(), every=4)
    assert [term.live(phase) for phase in range(5)] == [True, False, False, False, True]
    assert term.strength(0) == 4 * term.weight


def test_r2_is_half_the_squared_slope_at_the_fakes_and_gives_g_nothing() -> None:
    (term,) = TERMS["r2"](Game.of(), gamma=4.0, every=2)
    b = bundle([term])
    expected = 0.5 * (0.3 * b[G]).flatten(1).square().sum(1).mean()
    torch.testing.assert_close(b.loss(term), expected.detach())
    assert (term.player, term.weight, term.every) == ("D", 4.0, 2)
    b.loss(term).backward()
    assert all(p.grad is None for p in b.nets["G"].parameters())
    assert b.nets["D"].a.grad is not None
