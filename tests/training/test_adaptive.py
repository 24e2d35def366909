"""Runs with ADA and APA: when the probability changes, the log, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase
from steadygan.transforms import ADA, Chain

StateOf = Callable[..., TrainState]
QUICK = "augment.ada={target: -0.9, kimg: 0.1, every: 1}"


def test_the_probability_moves_once_per_interval_in_phases_of_d_alone(state_of: StateOf) -> None:
    state = state_of("cifar10-dcgan-none", "model.width=2", QUICK, "train.accumulate=2", "objective.loss=relativistic")
    assert isinstance(state.objective.pre_d, ADA)
    (controller,) = state.adaptive
    logged, after = [], []
    for _ in range(3):
        logged.append(float(run_phase(state, "D")["D/ada_p"]))
        after.append(float(controller.p))
    # The two micro-batches of a phase have one p: it moves behind the second, by 4 images of 100.
    assert logged == pytest.approx([0, *after[:2]])
    assert all(abs(b - a) < 0.041 for a, b in zip([0, *after[:2]], after, strict=True))
    assert max(after) > 0
    before = controller.p.clone()
    run_phase(state, "G")
    assert torch.equal(controller.p, before)


def test_diffaugment_comes_first_and_the_consistency_family_behind_both(state_of: StateOf) -> None:
    both = "augment.diffaugment.policy=[color]"
    state = state_of("cifar10-dcgan-icr", "model.width=2", QUICK, both, "augment.apa={p: 0.5}")
    assert isinstance(state.objective.pre_d, Chain)
    assert [type(part).__name__ for part in state.objective.pre_d.transforms] == ["DiffAugment", "ADA"]
    for player in "DG":
        assert all(value.isfinite() for value in run_phase(state, player).values())
    assert {"D/ada_p", "D/apa_p"} <= state.memories.keys()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["augment.ada={ops: {colour: 1}}"], "unknown 'colour'"),
        (["augment.ada={}", "augment.diffaugment.placement=reals-only"], "placement is an ablation"),
        (["augment.ada={p: 1.5}"], r"augment\.ada\.p: must be at least 0 and at most 1"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str, state_of: StateOf) -> None:
    with pytest.raises(UserError, match=message):
        state_of("cifar10-dcgan-none", "model.width=2", *overrides)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_goes_on_with_the_probability_it_had(tmp_path: Path) -> None:
    options = tiny_run("data.channels=3", "train.log_every=1", "train.checkpoint_every=2", QUICK)
    options += ["augment.apa={target: -0.9, kimg: 0.05, every: 1}"]
    whole = steadygan.train("digits", [*options, "train.steps=4"], out=tmp_path / "whole").path
    half = steadygan.train("digits", [*options, "train.steps=2"], out=tmp_path / "half").path
    steadygan.train(str(half), ["train.steps=4"], resume=True)
    logged = [[(row["D/ada_p"], row["D/apa_p"], row["D/adversarial"]) for row in rows(path)] for path in (whole, half)]
    assert logged[0] == logged[1]
    assert logged[0][3][0] > 0


def test_a_scheduled_probability_is_that_of_the_step(tmp_path: Path) -> None:
    scheduled = "augment.ada.p={shape: linear, start: 0, end: 0.4, steps: 4}"
    options = tiny_run("data.channels=3", "train.log_every=1", "train.steps=3", scheduled)
    path = steadygan.train("digits", options, out=tmp_path / "run").path
    assert [row["D/ada_p"] for row in rows(path)] == pytest.approx([0, 0.1, 0.2])
