"""Code whose images are in [0, 1]: the settings that are the same here, where images are in [-1, 1].

The references below are compare_gan's formulas on u = (x + 1)/2, for a discriminator that is given 2u - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan import config
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Jitter, Latent, Lerp, Nudge, Real
from steadygan.schedules import Schedule

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT, SHAPE = 6, 3, (2, 4, 4)
X, Z = Real(), Latent()
G = Gen("G", Z)
ROUND = 1e-4
"""What compare_gan adds under the root of the slope."""


class Critic(nn.Module):
    """D(x) = ⟨c, tanh(A x)⟩, so that slopes differ from place to place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Parameter(0.4 * torch.randn(8, 32)), nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(torch.tanh(x.flatten(1) @ self.a.T) @ self.c)


class Painter(nn.Module):
    """G(z) = tanh(A z)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(32, LATENT))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tanh(z @ self.a.T).view(-1, *SHAPE)


def prepared(term: Term) -> Bundle:
    x = torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    nets = {"D": Critic(), "G": Painter()}
    b = Bundle(nets, Prior(LATENT), torch.Generator().manual_seed(2), size=N, given={X: (x, None)})
    b.prepare([term])
    return b


def unit(x: Tensor) -> Tensor:
    """[-1, 1] → [0, 1]."""
    return (x + 1) / 2


def slopes(D: nn.Module, u: Tensor) -> tuple[Tensor, Tensor]:
    """D's logits (N,) of images in [0, 1], and its squared slopes with respect to these."""
    u = u.detach().clone().requires_grad_()
    logit = D(2 * u - 1).logit
    (gradient,) = torch.autograd.grad(logit.sum(), u, create_graph=True)
    return logit, gradient.square().sum((1, 2, 3))


def wgangp(b: Bundle) -> Tensor:
    _, squared = slopes(b.nets["D"], unit(b[Lerp(X, G)]))
    return ((squared + ROUND).sqrt() - 1).square().mean()


def dragan(b: Bundle) -> Tensor:
    # The noise is that of the view, whose law has its own test.
    _, squared = slopes(b.nets["D"], unit(b[Jitter(X, 0.5, "both-ways")]))
    return ((squared + ROUND).sqrt() - 1).square().mean()


def jsreg(b: Bundle) -> Tensor:
    (real, steep), (fake, flat) = (slopes(b.nets["D"], unit(b[view])) for view in (X, G))
    wrong = (1 - torch.sigmoid(real)).square() * steep + torch.sigmoid(fake).square() * flat
    return 0.5 * wrong.mean()


def zcr_gen(b: Bundle) -> Tensor:
    return -(unit(b[G]) - unit(b[Gen("G", Nudge(Z, 0.03))])).square().mean()


# Each: the code's weight, its formula, and what has the same value and gradient here.
SAME: Mapping[str, tuple[float, Callable[[Bundle], Tensor], str, dict[str, Any]]] = {
    "gp": (10.0, wgangp, "D", {"weight": 40.0, "target": 0.5, "epsilon": 2.5e-5}),
    "dragan": (10.0, dragan, "D", {"weight": 40.0, "target": 0.5, "epsilon": 2.5e-5, "noise": "both-ways"}),
    "jsreg": (0.1, jsreg, "D", {"gamma": 0.4}),
    "zcr": (0.5, zcr_gen, "G", {"gen": 0.125, "dis": 5.0, "sigma": 0.03}),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_network_has_the_same_loss_and_gradient_on_either_scale(name: str) -> None:
    weight, reference, player, options = SAME[name]
    (term,) = (term for term in TERMS[name](Game.of(), **options) if term.player == player)
    b = prepared(term)
    ours, theirs = term.strength(0) * term.loss(b), weight * reference(b)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    parameters = list(b.nets[player].parameters())
    gradients = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert max(float(gradient.abs().max()) for gradient in gradients[0]) > 1e-6


def test_noise_both_ways_is_that_of_compare_gan() -> None:
    x = torch.rand(3000, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x[:, 0] *= 0.1
    b = Bundle({}, Prior(LATENT), torch.Generator().manual_seed(2), size=len(x), given={X: (x, None)})
    u, moved = unit(x), unit(b[Jitter(X, 0.5, "both-ways")])
    assert moved.min() == 0
    assert moved.max() == 1
    noise = (moved - u)[:, 0] / u.std(correction=0)  # of pixels that no clipping reaches: U(-½, ½)
    assert float(noise.abs().max()) <= 0.5
    assert float(noise.mean()) == pytest.approx(0, abs=3e-3)
    assert float(noise.std()) == pytest.approx(12**-0.5, rel=0.01)
    # No share of a sample's own: pixels of one image are independent.
    halves = noise.flatten(1)
    assert float((halves[:, ::2].square() * halves[:, 1::2].square()).mean()) == pytest.approx(1 / 144, rel=0.02)


@pytest.mark.parametrize("name", ["gp", "dragan"])
def test_a_negative_epsilon_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="epsilon is added under a root and must be at least 0, got -1"):
        TERMS[name](Game.of(), epsilon=-1.0)


@pytest.mark.parametrize("base", ["cifar10-dcgan", "cifar10-resnet", "celeba-dcgan"])
def test_presets_of_compare_gans_rows_are_on_its_scale(base: str) -> None:
    for name, option in (("gp", "gp"), ("dragan", "dragan"), ("jsreg", "jsreg"), ("icr", "zcr")):
        options = config.load(f"{base}-{name}").objective.terms[option]
        assert options == SAME[option][3]
        assert not any(isinstance(value, Schedule) for value in options.values())
