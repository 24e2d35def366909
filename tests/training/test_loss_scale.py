"""float16 with a loss scale, on a CPU: scaled values, unscaled values, and the rule that changes the scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.objective.batch import ScoredBatch
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Latent
from steadygan.training import loss_scale
from steadygan.training.loss_scale import FullRange, LossScale
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

Build = Callable[..., TrainState]
SMALL = ("data.size=16", "model.width=4", "model.latent=8", "model.kind=dcgan")
FINE, FAULT = torch.zeros(()), torch.ones(())


def parameters(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def test_a_scale_of_a_power_of_two_changes_no_bit(state_of: Build) -> None:
    plain, scaled = (state_of("digits", *SMALL, "objective.terms.r1={gamma: 1}") for _ in range(2))
    scaled.scales = {"D": LossScale(), "G": LossScale()}
    for _ in range(3):
        ours, theirs = train_step(plain), train_step(scaled)
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    for name, net in plain.nets.items():
        for a, b in zip(net.parameters(), scaled.nets[name].parameters(), strict=True):
            assert torch.equal(a, b)
    assert theirs["D/loss_scale"] == loss_scale.START


def test_networks_are_float16_and_penalties_and_losses_float32(state_of: Build) -> None:
    state = state_of("digits", *SMALL, "train.precision=float16", "objective.terms.r1={gamma: 1}")
    seen: list[torch.dtype] = []
    layer = next(part for part in state.nets["D"].modules() if isinstance(part, nn.Conv2d))
    layer.register_forward_hook(lambda _, args, out: seen.append(out.dtype))
    values = run_phase(state, "D")
    assert seen == [torch.float16, torch.float32]
    assert {values["D/adversarial"].dtype, values["D/r1"].dtype} == {torch.float32}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in state.nets["D"].parameters())


def faint(factor: float) -> Term:
    """A term whose gradient float16 does not hold."""

    def loss(b: ScoredBatch) -> Tensor:
        return factor * b.D(Gen("G", Latent())).logit.mean()

    return Term("faint", "D", loss, score=(Gen("G", Latent()),))


@pytest.mark.parametrize("scale", [LossScale, FullRange])
def test_faint_gradients_arrive_only_with_a_scale(state_of: Build, scale: type[FullRange]) -> None:
    exact, half = (state_of("digits", *SMALL, f"train.precision={name}") for name in ("float32", "float16"))
    half.scales["D"] = scale()
    for state in (exact, half):
        state.objective.terms = (faint(1e-6),)
        run_phase(state, "D")
    layer = next(name for name, part in exact.nets["D"].named_modules() if isinstance(part, nn.Conv2d))
    true, found = (state.nets["D"].get_submodule(layer).weight.grad.norm() for state in (exact, half))
    assert 1e-9 < float(true) < 1e-4
    if scale is LossScale:
        # Processors that compute in float16 round sums as well: 5 % where others have under 2.
        assert float(found) == pytest.approx(float(true), rel=0.1)
    else:
        assert float(found) < 0.5 * float(true)


def test_an_overflow_moves_nothing_but_the_scale_and_is_no_skipped_phase(state_of: Build) -> None:
    state = state_of("digits", *SMALL, "train.precision=float16")
    scale = state.scales["D"]
    scale.scale.fill_(2.0**24)
    before = parameters(state.nets["D"])
    values = run_phase(state, "D")
    assert not values["D/grad_norm"].isfinite()
    assert all(torch.equal(a, b) for a, b in zip(before, state.nets["D"].parameters(), strict=True))
    assert (float(values["D/loss_scale"]), float(values["D/overflows"]), int(state.skipped)) == (2.0**23, 1, 0)
    for _ in range(23):
        run_phase(state, "D")
    assert not all(torch.equal(a, b) for a, b in zip(before, state.nets["D"].parameters(), strict=True))
    assert int(state.skipped) == 0


def test_a_loss_that_is_no_number_is_skipped_once_the_scale_is_one(state_of: Build) -> None:
    state = state_of("digits", *SMALL, "train.precision=float16")
    state.objective.terms = (faint(float("nan")),)
    for _ in range(18):
        run_phase(state, "D")
    scale = state.scales["D"]
    assert (float(scale.scale), int(scale.overflows), int(state.skipped)) == (1, 16, 2)


def test_the_scale_doubles_after_so_many_phases_in_a_row_and_stays_in_its_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_scale, "PATIENCE", 3)
    scale, seen = LossScale(), []
    for failed in (FINE, FINE, FAULT, FINE, FINE, FINE, FINE, FINE, FINE):
        assert scale.follow(failed) == 0
        seen.append(float(scale.scale) / loss_scale.START)
    assert seen == [1, 1, 0.5, 0.5, 0.5, 1, 1, 1, 2]
    for _ in range(100):
        scale.follow(FINE)
    assert float(scale.scale) == loss_scale.MOST
    assert [int(scale.follow(FAULT)) for _ in range(26)] == [0] * 24 + [1, 1]


def test_a_checkpoint_brings_the_scale_back(state_of: Build) -> None:
    options = (*SMALL, "train.precision=float16")
    first, again = state_of("digits", *options), state_of("digits", *options)
    first.scales["G"].scale.fill_(512)
    first.scales["G"].streak.fill_(77)
    saved = first.state_dict()
    again.load_state_dict(saved)
    assert (float(again.scales["G"].scale), int(again.scales["G"].streak)) == (512, 77)
    plain = state_of("digits", *SMALL)
    plain.load_state_dict(saved)  # another precision from here on
    assert plain.state_dict()["scales"] == {}


def test_runs_from_before_there_was_a_scale_begin_one(state_of: Build) -> None:
    old = state_of("digits", *SMALL).state_dict()
    del old["scales"]
    state = state_of("digits", *SMALL, "train.precision=float16")
    state.load_state_dict(old)
    assert float(state.scales["D"].scale) == loss_scale.START


@pytest.mark.parametrize(
    "damage",
    [
        {"D": 3},
        {"E": {}},
        [],
        {"D": {"scale": torch.tensor(3.0), "streak": torch.tensor(0), "overflows": torch.tensor(0)}},
        {"D": {"scale": torch.tensor(2.0**30), "streak": torch.tensor(0), "overflows": torch.tensor(0)}},
        {"D": {"scale": torch.tensor(float("nan")), "streak": torch.tensor(0), "overflows": torch.tensor(0)}},
        {"D": {"scale": torch.ones(2), "streak": torch.tensor(0), "overflows": torch.tensor(0)}},
        {"D": {"scale": torch.tensor(2.0), "streak": torch.tensor(-1), "overflows": torch.tensor(0)}},
        {"D": {"scale": torch.tensor(2.0)}},
    ],
)
def test_a_damaged_scale_is_refused_before_anything_is_changed(state_of: Build, damage: Any) -> None:
    state = state_of("digits", *SMALL, "train.precision=float16")
    saved = state.state_dict() | {"scales": damage, "step": 5}
    with pytest.raises(ValueError, match="loss scale"):
        state.load_state_dict(saved)
    assert (state.step, float(state.scales["D"].scale)) == (0, loss_scale.START)
