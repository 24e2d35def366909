"""ICR on real networks, in one pass of each: equal to a naive implementation with one call for each tensor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d, has_batch_statistics
from steadygan.nets.layers import Conv2d, Score
from steadygan.nets.registry import create_critic, create_generator
from steadygan.objective.batch import View
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Latent, Lerp, Nudge, Real

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT, SIGMA = 4, 6, 0.3
ICR = {"bcr": {"real": 10.0, "fake": 7.0}, "zcr": {"dis": 5.0, "gen": 0.5, "sigma": SIGMA}}
PENALISED = {**ICR, "r1": {"gamma": 2.0, "every": 4}, "gp": {"weight": 3.0}}
NETS = [("dcgan", 8, 0), ("dcgan", 8, 3), ("resnet", 32, 0), ("resnet", 32, 3)]


@dataclass(frozen=True)
class Rolled:
    """A deterministic transform: moves by a pixel and fades."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return 0.9 * x.roll(1, 3) + 0.05


class NormalisedCritic(nn.Module):
    """A discriminator whose batch norm makes the score of one image depend on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.linear = Conv2d(3, 4, 3), BatchNorm2d(4), nn.Linear(4, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(self.linear(F.leaky_relu(self.norm(self.conv(x)), 0.1).mean((2, 3))).squeeze(1))


def make_nets(kind: str, size: int, classes: int) -> dict[str, nn.Module]:
    sizes: dict[str, Any] = {"size": size, "channels": 3, "classes": classes, "width": 2}
    nets = {"G": create_generator(kind, latent=LATENT, **sizes), "D": create_critic(kind, **sizes)}
    with torch.no_grad():
        for parameter in nets["G"].parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return nets


def make_bundle(nets: Mapping[str, nn.Module], classes: int, **options: Any) -> Bundle:
    rng = torch.Generator().manual_seed(1)
    size = nets["G"].size
    x = torch.rand(N, 3, size, size, generator=rng) * 2 - 1
    y = torch.randint(classes, (N,), generator=rng) if classes else None
    prior = Prior(LATENT, label_pool=torch.arange(classes) if classes else None)
    return Bundle(nets, prior, rng, size=N, given={Real(): (x, y)}, **options)


def freeze(nets: Mapping[str, nn.Module], player: str) -> None:
    for name, net in nets.items():
        net.requires_grad_(name == player)


def run(nets: Mapping[str, nn.Module], terms: tuple[Term, ...], player: str, b: Bundle) -> dict[str, Tensor]:
    """The terms' values; the gradients of their weighted sum are left in the player's parameters."""
    mine = [term for term in terms if term.player == player]
    freeze(nets, player)
    b.prepare(mine)
    values = {term.name: term.loss(b) for term in mine}
    sum(term.weight * term.every * values[term.name] for term in mine).backward()
    return values


def squared_gradient_norm(D: nn.Module, x: Tensor, y: Tensor | None) -> Tensor:
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(D(x, y).logit.sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def naive_critic(nets: Mapping[str, nn.Module], b: Bundle, *, penalised: bool) -> dict[str, Tensor]:
    """Every tensor by a call of its own; latents, labels and the mix of the penalty are those of bundle `b`."""
    G, D, t = nets["G"], nets["D"], Rolled()
    real, latent = Real(), Latent()
    x, y, z, fake_y = b[real], b.labels(real), b[latent], b.labels(latent)
    g, nudged = G(z, fake_y).detach(), G(b[Nudge(latent, SIGMA)], fake_y).detach()
    d_x, d_tx = D(x, y).logit, D(t(x, b.generator), y).logit
    d_g, d_tg, d_nudged = D(g, fake_y).logit, D(t(g, b.generator), fake_y).logit, D(nudged, fake_y).logit
    values = {
        "adversarial": F.relu(1 - d_x).mean() + F.relu(1 + d_g).mean(),
        "bcr_real": (d_x - d_tx).square().mean(),
        "bcr_fake": (d_g - d_tg).square().mean(),
        "zcr_dis": (d_g - d_nudged).square().mean(),
    }
    total = values["adversarial"] + 10 * values["bcr_real"] + 7 * values["bcr_fake"] + 5 * values["zcr_dis"]
    if penalised:
        between = b[Lerp(real, Gen("G", latent))]
        values["r1"] = 0.5 * squared_gradient_norm(D, x, y).mean()
        values["gp"] = (squared_gradient_norm(D, between, y).sqrt() - 1).square().mean()
        total = total + 4 * 2 * values["r1"] + 3 * values["gp"]
    total.backward()
    return values


def naive_generator(nets: Mapping[str, nn.Module], b: Bundle) -> dict[str, Tensor]:
    G, D, latent = nets["G"], nets["D"], Latent()
    z, y = b[latent], b.labels(latent)
    g, nudged = G(z, y), G(b[Nudge(latent, SIGMA)], y)
    values = {"adversarial": -D(g, y).logit.mean(), "zcr_gen": -(g - nudged).square().mean()}
    (values["adversarial"] + 0.5 * values["zcr_gen"]).backward()
    return values


def assert_same_gradients(net: nn.Module, reference: nn.Module) -> None:
    for (name, actual), expected in zip(net.named_parameters(), reference.parameters(), strict=True):
        assert actual.grad is not None, f"{name} has no gradient"
        # A convolution's bias before a batch norm has no effect: its gradient is rounding alone.
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-9, atol=1e-11)
    assert max(float(p.grad.abs().max()) for p in net.parameters()) > 1e-3


def assert_same_buffers(net: nn.Module, reference: nn.Module) -> None:
    for (name, actual), expected in zip(net.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13, msg=name)


@pytest.mark.parametrize("objective", [ICR, PENALISED], ids=["icr", "icr+r1+gp"])
@pytest.mark.parametrize(("kind", "size", "classes"), NETS)
def test_the_critics_phase_equals_one_call_for_each_tensor(
    kind: str, size: int, classes: int, objective: dict[str, dict[str, float]]
) -> None:
    nets = make_nets(kind, size, classes)
    reference = copy.deepcopy(nets)
    b = make_bundle(nets, classes)
    values = run(nets, build_terms(Game.of(Rolled(), loss="hinge"), terms=objective), "D", b)
    expected = naive_critic(reference, b, penalised=objective is PENALISED)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-14, msg=name)
    assert_same_gradients(nets["D"], reference["D"])
    assert_same_buffers(nets["G"], reference["G"])
    assert_same_buffers(nets["D"], reference["D"])


@pytest.mark.parametrize(("kind", "size", "classes"), NETS)
def test_the_generators_phase_equals_one_call_for_each_tensor(kind: str, size: int, classes: int) -> None:
    nets = make_nets(kind, size, classes)
    reference = copy.deepcopy(nets)
    b = make_bundle(nets, classes)
    values = run(nets, build_terms(Game.of(Rolled(), loss="hinge"), terms=PENALISED), "G", b)
    expected = naive_generator(reference, b)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-14, msg=name)
    assert_same_gradients(nets["G"], reference["G"])
    assert_same_buffers(nets["G"], reference["G"])
    before = {key: value.clone() for key, value in make_nets(kind, size, classes)["G"].named_buffers()}
    assert any(not torch.equal(before[key], value) for key, value in nets["G"].named_buffers())


@pytest.mark.parametrize("player", ["D", "G"])
@pytest.mark.parametrize(("kind", "size", "classes"), NETS)
def test_joint_scoring_equals_separate_scoring(kind: str, size: int, classes: int, player: str) -> None:
    nets = make_nets(kind, size, classes)
    reference = copy.deepcopy(nets)
    terms = build_terms(Game.of(Rolled(), loss="non-saturating"), terms=PENALISED)
    joint = run(nets, terms, player, make_bundle(nets, classes))
    separate = run(reference, terms, player, make_bundle(reference, classes, joint=False))
    for name, value in joint.items():
        torch.testing.assert_close(value, separate[name], rtol=1e-10, atol=1e-14, msg=name)
    assert_same_gradients(nets[player], reference[player])


def test_a_critic_with_batch_statistics_sees_each_view_by_itself() -> None:
    nets = {"G": make_nets("dcgan", 8, 0)["G"], "D": NormalisedCritic()}
    assert has_batch_statistics(nets["D"])
    assert not has_batch_statistics(make_nets("dcgan", 8, 0)["D"])
    reference, mixed = copy.deepcopy(nets), copy.deepcopy(nets)
    game = Game.of(Rolled())
    terms = build_terms(game, terms=ICR)
    b = make_bundle(nets, 0, joint=False)
    values = run(nets, terms, "D", b)
    expected = naive_critic_in_order(reference["D"], b, terms)
    for name, value in values.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-10, atol=1e-14, msg=name)
    assert_same_buffers(nets["D"], reference["D"])
    assert int(nets["D"].norm.num_batches_tracked) == 5
    wrong = run(mixed, terms, "D", make_bundle(mixed, 0, joint=True))
    assert not torch.isclose(wrong["bcr_real"], values["bcr_real"], rtol=1e-3)


def naive_critic_in_order(D: nn.Module, b: Bundle, terms: tuple[Term, ...]) -> dict[str, Tensor]:
    """D's terms from one call for each view, in the order in which the terms name them."""
    logits: dict[View, Tensor] = {}
    for view in dict.fromkeys(view for term in terms if term.player == "D" for view in term.score):
        logits[view] = D(b[view].detach()).logit
    x, g, tx, tg, nudged = logits.values()
    return {
        "adversarial": F.relu(1 - x).mean() + F.relu(1 + g).mean(),
        "bcr_real": (x - tx).square().mean(),
        "bcr_fake": (g - tg).square().mean(),
        "zcr_dis": (g - nudged).square().mean(),
    }
