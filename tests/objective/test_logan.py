"""LOGAN: the step in closed form, its number, its subset, its gradients; path length against a linear generator."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.layers import Score
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.logan import Climb
from steadygan.objective.registry import build_terms
from steadygan.objective.views import Gen, Latent, Nudge, Real
from steadygan.training.step import run_phase

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT = 6, 4
X, Z = Real(), Latent()


class Identity(nn.Module):
    """G(z) = z as a 1×2×2 image."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z.view(-1, 1, 2, 2)


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, plus the row of the label."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(LATENT))
        self.rows = nn.Parameter(torch.randn(classes, LATENT)) if classes else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        w = self.w if self.rows is None else self.w + self.rows[y]
        return Score((x.flatten(1) * w).sum(1))


class Curved(nn.Module):
    """Smooth networks in one: G(z) = tanh(A z), D(x) = ⟨c, tanh(B x)⟩."""

    def __init__(self, critic: bool) -> None:
        super().__init__()
        self.critic = critic
        self.a, self.c = nn.Parameter(0.8 * torch.randn(LATENT, LATENT)), nn.Parameter(torch.randn(LATENT))
        self.calls = 0

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        self.calls += 1
        h = torch.tanh(x.flatten(1) @ self.a.T)
        return Score(h @ self.c) if self.critic else h.view(-1, 1, 2, 2)


def bundle(nets: Mapping[str, nn.Module], classes: int = 0, **options: Any) -> Bundle:
    prior = Prior(LATENT, "uniform", torch.arange(classes) if classes else None)
    x = torch.randn(N, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return Bundle(nets, prior, torch.Generator().manual_seed(2), size=N, given={X: (x, None)}, **options)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_linear_game_climbs_along_its_weights(steps: int) -> None:
    critic = Linear()
    w = critic.w.detach()
    for method, delta in (("gd", 0.02 * w), ("ngd", 0.02 * w / (0.1 + w.square().sum()))):
        b = bundle({"G": Identity(), "D": critic})
        end = b[Climb(Z, method=method, alpha=0.02, fraction=1.0, steps=steps)]
        expected = b[Z]
        for _ in range(steps):
            expected = (expected + delta).clamp(-1, 1)
        torch.testing.assert_close(end.detach(), expected)


def test_the_slope_of_ngd_is_damped_by_the_squared_norm_of_each_sample() -> None:
    critic = Linear(classes=3)
    b = bundle({"G": Identity(), "D": critic}, classes=3)
    end = b[Climb(Z, alpha=0.5, beta=0.2, fraction=1.0)]
    slope = (critic.w + critic.rows[b.labels(Z)]).detach()
    expected = b[Z] + 0.5 * slope / (0.2 + slope.square().sum(1, keepdim=True))
    torch.testing.assert_close(end.detach(), expected.clamp(-1, 1))
    assert b.labels(Climb(Z)) is b.labels(Z)


def test_only_a_random_fraction_of_each_samples_elements_moves() -> None:
    b = bundle({"G": Identity(), "D": Linear()})
    moved = b[Climb(Z, method="gd", alpha=1e-3, fraction=0.5, steps=2)] != b[Z]
    assert moved.sum(1).tolist() == [2] * N
    assert len(set(map(tuple, moved.tolist()))) > 1
    w = b.nets["D"].w.detach()
    end = b[Climb(Z, alpha=1e-3, beta=0.2, fraction=0.5)].detach()
    # The norm is that of the slope along the elements that may move.
    slope = w * (end != b[Z])
    torch.testing.assert_close(end, (b[Z] + 1e-3 * slope / (0.2 + slope.square().sum(1, keepdim=True))).clamp(-1, 1))


def test_the_latent_stays_inside_the_prior() -> None:
    b = bundle({"G": Identity(), "D": Linear()})
    end = b[Climb(Z, method="gd", alpha=100.0, fraction=1.0)]
    assert torch.equal(end.detach().abs(), torch.ones_like(end))


def test_more_steps_are_more_steps() -> None:
    nets = {"G": Curved(False), "D": Curved(True)}
    b = bundle(nets)
    climb = Climb(Z, alpha=0.3, steps=3, fraction=1.0)
    end = b[climb]
    assert (nets["G"].calls, nets["D"].calls) == (3, 3)
    z = b[Z]
    for _ in range(3):
        leaf = z.clone().requires_grad_()
        (g,) = torch.autograd.grad(nets["D"](nets["G"](leaf)).logit.sum(), leaf)
        z = (z + 0.3 * g / (0.1 + g.square().sum(1, keepdim=True))).clamp(-1, 1)
    torch.testing.assert_close(end.detach(), z)
    assert float((b[Climb(Z, alpha=0.3, fraction=1.0)] - end).abs().max().detach()) > 1e-3


LOGAN = {"logan": {"alpha": 0.2, "beta": 0.5, "steps": 2, "fraction": 0.75, "weight": 3.0}}


def loss_of(player: str, nets: Mapping[str, nn.Module]) -> Tensor:
    """The player's whole objective on one fixed batch, the other player frozen."""
    for name, net in nets.items():
        net.requires_grad_(name == player)
    terms = [t for t in build_terms(Game.of(loss="non-saturating"), terms=LOGAN) if t.player == player]
    b = bundle(nets)
    b.prepare(terms)
    return torch.stack([term.strength(0) * term.loss(b) for term in terms]).sum()


@pytest.mark.parametrize("player", ["D", "G"])
def test_gradients_go_through_the_climb_into_the_weights(player: str) -> None:
    nets = {"G": Curved(False), "D": Curved(True)}
    loss_of(player, nets).backward()
    other = nets["G" if player == "D" else "D"]
    assert all(parameter.grad is None for parameter in other.parameters())
    a = nets[player].a
    for row, column in ((0, 0), (1, 2), (3, 1)):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                a[row, column] += step
            values.append(float(loss_of(player, nets).detach()))
            with torch.no_grad():
                a[row, column] -= step
        assert float(a.grad[row, column]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_without_the_graph_of_the_climb_the_gradient_would_be_another() -> None:
    nets = {"G": Curved(False), "D": Curved(True)}
    fake = build_terms(Game.of(loss="hinge"), terms=LOGAN)[1].score[0]
    b = bundle(nets)
    b.generate([fake])
    whole = torch.autograd.grad(nets["D"](b[fake]).logit.sum(), nets["D"].a, retain_graph=True)[0]
    cut = torch.autograd.grad(nets["D"](b[fake].detach()).logit.sum(), nets["D"].a)[0]
    assert float((whole - cut).abs().max()) > 1e-3


def test_both_players_pay_for_the_way() -> None:
    terms = build_terms(Game.of(loss="hinge"), terms={"logan": {"weight": 300}})
    costs = [term for term in terms if term.name == "logan"]
    assert [(term.player, term.weight) for term in costs] == [("D", 300), ("G", 300)]
    b = bundle({"G": Identity(), "D": Linear()})
    b.prepare(terms)
    for term in costs:
        torch.testing.assert_close(term.loss(b), (b[Climb(Z)] - b[Z]).square().sum(1).mean())


@pytest.mark.parametrize("player", ["G", "D"])
def test_one_player_may_pay_alone_and_both_still_climb(player: str) -> None:
    terms = build_terms(Game.of(loss="hinge"), terms={"logan": {"paid_by": player}})
    assert [term.player for term in terms if term.name == "logan"] == [player]
    assert all(Gen("G", Climb(Z)) in term.score for term in terms if term.name == "adversarial")


def test_every_term_takes_the_climbed_fakes_and_one_climb_serves_all() -> None:
    terms = build_terms(Game.of(loss="hinge"), terms={"zcr": {"sigma": 0.1}, "logan": {}, "gp": {}})
    climb = Climb(Z)
    fakes = {view for term in terms for view in term.score + term.views if isinstance(view, Gen)}
    assert fakes == {Gen("G", climb), Gen("G", Nudge(climb, 0.1))}
    nets = {"G": Curved(False), "D": Curved(True)}
    bundle(nets).prepare([term for term in terms if term.player == "D"])
    # One step of the climb, then all fakes; for D also the penalty's pass.
    assert (nets["G"].calls, nets["D"].calls) == (2, 3)


class Normalised(nn.Module):
    """A generator with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(LATENT, LATENT), BatchNorm2d(1)
        self.seen: list[tuple[int, int]] = []

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        self.seen.append((len(z), self.norm.groups))
        return self.norm(self.linear(z).view(-1, 1, 2, 2))


def test_the_inner_call_has_batch_statistics_of_its_own() -> None:
    nets = {"G": Normalised(), "D": Linear()}
    climb = Climb(Z, fraction=1.0)
    fakes = [Gen("G", climb), Gen("G", Nudge(climb, 0.3))]
    b = bundle(nets)
    b.generate(fakes)
    assert nets["G"].seen == [(N, 1), (2 * N, 2)]
    for fake in fakes:
        torch.testing.assert_close(b[fake], nets["G"](b[fake.source]))


def test_it_climbs_what_the_critic_sees() -> None:
    """Behind a transform that halves, a linear game has half the slope."""
    critic = Linear()

    def halve(x: Tensor, generator: torch.Generator) -> Tensor:
        return x / 2

    b = bundle({"G": Identity(), "D": critic}, pre_d=halve)
    end = b[Climb(Z, method="gd", alpha=0.01, fraction=1.0)]
    torch.testing.assert_close(end.detach(), (b[Z] + 0.005 * critic.w.detach()).clamp(-1, 1))


@pytest.mark.parametrize(
    ("option", "message"),
    [({"steps": 0}, "steps"), ({"fraction": 0.0}, "fraction"), ({"fraction": 1.1}, "fraction"), ({"beta": 0}, "beta")],
)
def test_an_impossible_climb_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"objective\.terms\.logan: {message} must be"):
        build_terms(Game.of(loss="hinge"), terms={"logan": option})


def test_a_phase_with_logan_moves_its_player_only(combinations: ModuleType) -> None:
    torch.set_default_dtype(torch.float32)
    for player, other in (("D", "G"), ("G", "D")):
        state = combinations.tiny_state({"logan": {"steps": 2}})
        before = [p.detach().clone() for p in state.nets[other].parameters()]
        run_phase(state, player)
        assert all(p.grad is None for p in state.nets[other].parameters())
        assert all(torch.equal(old, new) for old, new in zip(before, state.nets[other].parameters(), strict=True))
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in state.nets[player].parameters())
