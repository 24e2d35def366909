"""Schedules: each shape in closed form, refusals, and runs that follow them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import tiny_run
from pydantic import ValidationError

import steadygan
from steadygan import config
from steadygan.errors import UserError
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms, resolve_options
from steadygan.schedules import Schedule, value
from steadygan.training.ema import EMA

COSINE = {"shape": "cosine", "start": 150.0, "end": 15.0, "steps": 8}


def at(step: int, **fields: Any) -> float:
    return Schedule(**fields).value(step)


def test_a_schedule_is_formatted_as_its_ends() -> None:
    assert f"{Schedule(shape='cosine', start=2, end=0.25, steps=8):g}·r1" == "2 → 0.25·r1"
    assert f"{Schedule(shape='constant', start=2):.1f}" == "2.0"


def test_a_plain_number_does_not_move() -> None:
    assert [value(0.3, step) for step in (0, 10**9)] == [0.3, 0.3]


@pytest.mark.parametrize("step", range(12))
def test_a_cosine_falls_by_its_formula_and_stays(step: int) -> None:
    share = 0.5 * (1 + math.cos(math.pi * min(step, 8) / 8))
    assert at(step, **COSINE) == pytest.approx(15 + (150 - 15) * share, rel=1e-14)


def test_the_ends_are_met_to_the_bit_before_and_after_the_decay() -> None:
    delayed = {**COSINE, "start": 0.1, "end": 0.7, "delay": 5}
    assert [at(step, **delayed) for step in (0, 5, 13, 99)] == [0.1, 0.1, 0.7, 0.7]
    assert at(9, **delayed) == pytest.approx(0.4)


@pytest.mark.parametrize("step", range(0, 30, 3))
def test_linear_to_zero_is_the_factor_that_optim_schedule_has_always_been_to_the_bit(step: int) -> None:
    steps, decay_from, lr = 23, 7, 3e-4
    optim = config.OptimConfig.model_validate({"g": {"lr": lr}, "schedule": "linear", "decay_from": decay_from})
    expected = lr * max(0.0, min(1.0, (steps - step) / max(1, steps - decay_from)))
    assert value(optim.rate(optim.g, steps), step) == expected


def test_a_warm_up_rises_in_equal_parts() -> None:
    assert [at(step, shape="constant", start=8, warmup=4) for step in range(6)] == [2, 4, 6, 8, 8, 8]
    warmed = {"shape": "linear", "start": 8, "end": 0, "steps": 4, "delay": 4, "warmup": 4}
    assert [at(step, **warmed) for step in (0, 3, 4, 6, 8)] == [2, 8, 8, 4, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": "cosine", "start": 1}, "linear and cosine need end and steps"),
        ({"shape": "constant", "start": 1, "end": 0, "steps": 3}, "constant has neither"),
        ({"shape": "linear", "start": 1, "end": 0, "steps": 3, "warmup": 2}, "delay to at least 2"),
        ({"shape": "linear", "start": 1, "end": 0, "steps": 0}, "greater than 0"),
        ({"shape": "square", "start": 1}, "constant"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Schedule(**fields)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.g.lr=-1", r"optim\.g\.lr: must be above 0, got -1"),
        ("optim.g.lr=fast", r"optim\.g\.lr=fast: must be a number"),
        ("optim.d.beta2={start: 0.9, end: 1.0, steps: 5}", r"optim\.d\.beta2: must be at least 0 and below 1"),
        ("optim.d.beta2={start: 0.9, stop: 0.95, steps: 5}", r"optim\.d\.beta2: schedule: stop: Extra inputs"),
        ("train.ema.half_life=0", r"train\.ema\.half_life: must be above 0"),
        ("optim.g.lr={start: 1.0e-3, end: 0, steps: 5}", "schedule=linear is of plain learning rates"),
    ],
)
def test_a_number_out_of_range_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.load("digits", [override])


def test_a_configuration_with_schedules_is_the_same_when_read_again(tmp_path: Path) -> None:
    overrides = [
        "optim.schedule=constant",
        "optim.g.lr={start: 2.0e-4, end: 5.0e-5, steps: 40}",
        "train.ema.half_life={start: 0, end: 100, steps: 40}",
        "objective.terms.bcr.real={start: 10, end: 1, steps: 40, shape: linear}",
    ]
    first = config.load("digits", overrides)
    resolved = first.objective.model_copy(update={"terms": resolve_options(first.objective.terms)})
    first = first.model_copy(update={"objective": resolved})
    path = tmp_path / "again.yaml"
    path.write_text(first.to_yaml(), encoding="utf-8")
    second = config.load(path)
    assert second.optim == first.optim
    assert second.train.ema == first.train.ema
    assert resolve_options(second.objective.terms) == first.objective.terms
    assert yaml.safe_load(first.to_yaml())["optim"]["g"]["lr"]["end"] == 5e-5


def test_the_weight_of_a_term_follows_its_schedule() -> None:
    terms = build_terms(Game.of(loss="relativistic"), terms={"r1": {"gamma": COSINE, "every": 2}, "r2": {"gamma": 3}})
    r1, r2 = (next(term for term in terms if term.name == name) for name in ("r1", "r2"))
    assert [r1.strength(step) for step in (0, 4, 8)] == pytest.approx([300, 165, 30])
    assert [r2.strength(step) for step in (0, 8)] == [3, 3]


def test_an_option_that_is_no_weight_has_no_schedule() -> None:
    with pytest.raises(UserError, match=r"terms\.gp\.target: must be a number"):
        resolve_options({"gp": {"target": COSINE}})


def test_the_half_life_of_the_average_follows_its_schedule() -> None:
    net = torch.nn.Linear(1, 1, bias=False)
    ema = EMA(net, start=0, half_life=Schedule(shape="linear", start=0, end=4, steps=2))
    with torch.no_grad():
        ema.net.weight.zero_()
        net.weight.fill_(1)
        ema.update(net, 0)
        assert float(ema.net.weight) == 1
        net.weight.fill_(0)
        for step, half_life in ((1, 2), (2, 4), (3, 4)):
            before = float(ema.net.weight)
            ema.update(net, step)
            assert float(ema.net.weight) == pytest.approx(before * 0.5 ** (1 / half_life))


def test_the_optimisers_of_a_run_have_the_numbers_of_the_step(tmp_path: Path) -> None:
    moving = [
        "optim.schedule=constant",
        "optim.g.lr={shape: constant, start: 1.0e-3, warmup: 10}",
        "optim.d.beta2={shape: linear, start: 0.9, end: 0.5, steps: 4}",
    ]
    steadygan.train("digits", tiny_run("data.channels=3", "train.steps=3", *moving), out=tmp_path / "run")
    path = tmp_path / "run/checkpoints/step-00000003/state.pt"
    groups = {
        player: optimizer["param_groups"][0]
        for player, optimizer in torch.load(path, weights_only=True)["optimizers"].items()
    }
    assert groups["G"]["lr"] == pytest.approx(3e-4)
    assert groups["G"]["betas"] == (0, 0.9)
    assert groups["D"]["lr"] == 1e-3
    assert groups["D"]["betas"] == pytest.approx((0, 0.7))
