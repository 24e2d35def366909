"""A crafted training state reaches no optimiser."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import tiny_run

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.tasks.choice import build_images, task_of
from steadygan.training.saved import fitted
from steadygan.training.state import TrainState
from steadygan.training.step import train_step

Saved = dict[str, Any]


@pytest.fixture(scope="module")
def state() -> TrainState:
    """A state after one step."""
    config = configuration.load("digits", tiny_run())
    made = build_state(task_of(config), build_images(config, torch.device("cpu")).train, torch.device("cpu"))
    train_step(made)
    return made


def first(saved: Saved) -> dict[str, Any]:
    """What Adam keeps of G's first parameter."""
    return saved["optimizers"]["G"]["state"][0]


def group(saved: Saved) -> dict[str, Any]:
    return saved["optimizers"]["G"]["param_groups"][0]


ATTACKS: dict[str, Callable[[Saved], object]] = {
    "a smaller moment": lambda s: first(s).update(exp_avg=torch.zeros(1)),
    "a larger moment": lambda s: first(s).update(exp_avg_sq=torch.zeros(10_000)),
    "a transposed moment": lambda s: first(s).update(exp_avg=first(s)["exp_avg"].T.contiguous()),
    "a moment of another type": lambda s: first(s).update(exp_avg=first(s)["exp_avg"].double()),
    "a sparse moment": lambda s: first(s).update(exp_avg=first(s)["exp_avg"].to_sparse()),
    "a moment without numbers": lambda s: first(s).update(exp_avg=first(s)["exp_avg"].to("meta")),
    "a moment that is a number": lambda s: first(s).update(exp_avg=0.0),
    "steps of many": lambda s: first(s).update(step=torch.ones(64)),
    "a step that is not finite": lambda s: first(s).update(step=torch.tensor(float("inf"))),
    "a moment left out": lambda s: first(s).pop("exp_avg_sq"),
    "a moment too many": lambda s: first(s).update(max_exp_avg_sq=torch.zeros(1)),
    "an unknown parameter": lambda s: s["optimizers"]["G"]["state"].update({10**6: first(s)}),
    "another algorithm": lambda s: group(s).update(amsgrad=True),
    "an eps that is text": lambda s: group(s).update(eps="1e-8"),
    "betas of three": lambda s: group(s).update(betas=(0.5, 0.9, 0.9)),
    "parameters in another order": lambda s: group(s)["params"].reverse(),
    "no optimiser of D": lambda s: s["optimizers"].pop("D"),
    "half a random state": lambda s: s.update(generator=s["generator"][:100]),
    "a random state of floats": lambda s: s.update(torch_rng=s["torch_rng"].float()),
    "no random state": lambda s: s.update(torch_rng=None),
    "a position before the beginning": lambda s: s["loader"].update(position=-8),
    "a position that is not a number": lambda s: s["loader"].update(position="8"),
    "a loader that is a list": lambda s: s.update(loader=[]),
    "infinitely many steps": lambda s: s.update(step=float("inf")),
    "fewer than no images": lambda s: s.update(images=-1),
    "a count of an unknown player": lambda s: s["counts"].update(X=1),
    "a best score that is not a number": lambda s: s.update(best_score=float("nan")),
    "no seconds": lambda s: s.pop("seconds"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_crafted_state_is_refused_and_nothing_is_changed(state: TrainState, attack: str) -> None:
    saved = copy.deepcopy(state.state_dict())
    before = copy.deepcopy(state.state_dict())
    ATTACKS[attack](saved)
    with pytest.raises(ValueError, match=r"\w"):
        state.load_state_dict(saved)
    after = state.state_dict()
    assert (after["step"], after["images"], after["loader"]) == (before["step"], before["images"], before["loader"])
    assert torch.equal(after["generator"], before["generator"])
    assert torch.equal(first(after)["exp_avg"], first(before)["exp_avg"])


def test_what_was_saved_is_taken_back_bit_for_bit(state: TrainState) -> None:
    saved = copy.deepcopy(state.state_dict())
    state.load_state_dict(copy.deepcopy(saved))
    for player in ("D", "G"):
        for index, kept in saved["optimizers"][player]["state"].items():
            now = state.optimizers[player].state_dict()["state"][index]
            assert all(torch.equal(now[name], value) for name, value in kept.items())


def test_moments_take_their_parameters_layout_whatever_the_files_was() -> None:
    """Fused Adam pairs elements by address: one layout for both, and memory of its own for each element."""
    parameter = torch.nn.Parameter(torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([parameter], fused=True)
    parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    saved = copy.deepcopy(optimizer.state_dict())
    moments = saved["state"][0]
    plain = moments["exp_avg"].contiguous()
    moments["exp_avg"], moments["exp_avg_sq"] = plain, torch.ones(()).expand(2, 3, 4, 4)
    placed = fitted(optimizer, saved)["state"][0]
    assert placed["exp_avg"].stride() == placed["exp_avg_sq"].stride() == parameter.stride()
    assert torch.equal(placed["exp_avg"], plain)
    assert placed["exp_avg_sq"].untyped_storage().nbytes() == 4 * parameter.numel()
