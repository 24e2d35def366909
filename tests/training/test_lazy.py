"""Lazy terms in an Adam step of their own, against a loop written as StyleGAN2's official code has it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import state_of
from torch import Tensor, nn

from steadygan import build, config
from steadygan.config import Config
from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms
from steadygan.tasks.choice import task_of
from steadygan.training.ema import EMA
from steadygan.training.state import TrainState
from steadygan.training.step import train_step

pytestmark = pytest.mark.usefixtures("float64")

BATCH, LATENT, PIXELS, GAMMA, EVERY, LR, BETAS = 4, 3, 8, 2.0, 3, 1e-2, (0.5, 0.9)


class Critic(nn.Module):
    """D(x) = ⟨c, tanh(A x)⟩ + b; b has no part in the slope."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.b = (nn.Parameter(torch.randn(shape)) for shape in ((5, PIXELS), (5,), ()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(torch.tanh(x.flatten(1) @ self.a.T) @ self.c + self.b)


class Painter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(LATENT, PIXELS)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.linear(z).view(-1, 1, 2, 4)


class Reals:
    """A different batch at every call."""

    batch_size, world_size = BATCH, 1

    def __init__(self) -> None:
        self.rng = torch.Generator().manual_seed(7)

    def batch(self) -> dict[str, tuple[Tensor, None]]:
        return {"x": (torch.rand(BATCH, 1, 2, 4, generator=self.rng) * 2 - 1, None)}


def make_state(nets: dict[str, nn.Module], *, apart: bool) -> TrainState:
    terms = build_terms(Game.of(loss="non-saturating"), terms={"r1": {"gamma": GAMMA, "every": EVERY}})
    state = state_of(
        nets=nets,
        players={"D": ("D",), "G": ("G",)},
        terms=terms,
        loss=LOSSES["non-saturating"],
        phases=("G", "D"),
        prior=Prior(LATENT),
        optimizers={},
        loader=Reals(),
        generator=torch.Generator().manual_seed(3),
        ema=EMA(nets["G"], start=0, half_life=10),
        lazy_apart=apart,
    )
    for player, net in nets.items():
        pace = state.objective.pace(player)
        betas = tuple(beta**pace for beta in BETAS)
        state.optimizers[player] = torch.optim.Adam(net.parameters(), lr=LR * pace, betas=betas, fused=True)
    return state


def official(nets: dict[str, nn.Module], steps: int) -> None:
    """G, then D's game, then every third time its R1 by itself: one Adam, of which lr and betas are scaled by 3/4."""
    G, D = nets["G"], nets["D"]
    share = EVERY / (EVERY + 1)
    g_opt = torch.optim.Adam(G.parameters(), lr=LR, betas=BETAS)
    d_opt = torch.optim.Adam(D.parameters(), lr=LR * share, betas=(BETAS[0] ** share, BETAS[1] ** share))
    rng, reals = torch.Generator().manual_seed(3), Reals()

    def draw() -> Tensor:
        return torch.randn(BATCH, LATENT, generator=rng)

    for index in range(steps):
        g_opt.zero_grad()
        F.softplus(-D(G(draw())).logit).mean().backward()
        g_opt.step()
        x = reals.batch()["x"][0]
        d_opt.zero_grad()
        (F.softplus(-D(x).logit).mean() + F.softplus(D(G(draw()).detach()).logit).mean()).backward()
        d_opt.step()
        if index % EVERY == 0:
            d_opt.zero_grad()
            leaf = x.clone().requires_grad_()
            logit = D(leaf).logit
            (slope,) = torch.autograd.grad(logit.sum(), leaf, create_graph=True)
            penalty = slope.square().sum((1, 2, 3)) * (GAMMA / 2)
            (logit * 0 + penalty).mean().mul(EVERY).backward()
            d_opt.step()


def test_lazy_terms_apart_are_the_official_codes_loop() -> None:
    nets = {"G": Painter(), "D": Critic()}
    theirs = copy.deepcopy(nets)
    state = make_state(nets, apart=True)
    official(theirs, 7)
    for _ in range(7):
        values = train_step(state)
    assert "D/r1" in values
    assert state.images == 7 * BATCH
    for name, net in nets.items():
        for ours, reference in zip(net.parameters(), theirs[name].parameters(), strict=True):
            torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-11)


def test_together_they_are_one_step_of_the_plain_adam() -> None:
    nets = {"G": Painter(), "D": Critic()}
    state, apart = (make_state(copy.deepcopy(nets), apart=apart) for apart in (False, True))
    assert (state.objective.pace("D"), state.objective.pace("G")) == (1, 1)
    assert (apart.objective.pace("D"), apart.objective.pace("G")) == (0.75, 1)
    for run in (state, apart):
        train_step(run)
    steps = [int(run.optimizers["D"].state[run.nets["D"].a]["step"]) for run in (state, apart)]
    assert steps == [1, 2]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images(open_source("digits", size=16), range(40))


def of(*overrides: str) -> Config:
    fixed = ["data.size=16", "model.width=2", "model.latent=4", "train.batch_size=8", "train.precision=float32"]
    return build.resolve(config.load("digits-icr", [*fixed, *overrides]))


def test_a_configuration_scales_rates_and_betas_of_the_player_that_has_lazy_terms(images: ImageSet) -> None:
    cfg = of("optim.lazy=apart", "objective.terms.r1={gamma: 1, every: 4}", "optim.d.lr=0.01", "optim.d.beta2=0.9")
    groups = {
        name: optimizer.param_groups[0]
        for name, optimizer in build.build_state(task_of(cfg), images, torch.device("cpu")).optimizers.items()
    }
    assert groups["D"]["lr"] == pytest.approx(0.01 * 4 / 5)
    assert groups["D"]["betas"] == pytest.approx((0, 0.9**0.8))
    assert (groups["G"]["lr"], groups["G"]["betas"]) == (1e-3, (0, 0.9))


def test_g_may_have_more_fakes_in_its_phase_than_there_are_reals(images: ImageSet) -> None:
    cfg = of("train.g_batch_size=12", "train.accumulate=2")
    state = build.build_state(task_of(cfg), images, torch.device("cpu"))
    sizes: list[tuple[str, int]] = []
    state.nets["D"].register_forward_pre_hook(lambda _, args: sizes.append((args[0].requires_grad, len(args[0]))))
    train_step(state)
    # D sees x, T(x), g, T(g) and G(z + Δz) of each micro-batch of 4; G's phase shows it 6 fakes at a time.
    assert sizes == [(False, 20)] * 2 + [(True, 6)] * 2
    assert state.images == 8


def test_a_phase_of_g_that_looks_at_reals_has_no_size_of_its_own(images: ImageSet) -> None:
    cfg = of("train.g_batch_size=16", "objective.loss=relativistic", "objective.terms={}")
    with pytest.raises(UserError, match=r"g_batch_size: phases of G use reals too \(adversarial\)"):
        build.build_state(task_of(cfg), images, torch.device("cpu"))
    with pytest.raises(UserError, match="accumulate must divide g_batch_size"):
        of("train.g_batch_size=9", "train.accumulate=2")
