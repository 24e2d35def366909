"""LeCam: averages, penalty, and averages restored from a checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.memory import Average
from steadygan.objective.registry import TERMS
from steadygan.runs.checkpoint import load_checkpoint, save_checkpoint
from steadygan.training.step import run_phase, train_step

GAME = Game.of()


class Readout(nn.Module):
    """A discriminator of 1×1 images, whose only pixel is the logit."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1).squeeze(1))


def bundle(real: list[float], fake: list[float]) -> Bundle:
    given = {
        view: (torch.tensor(values, dtype=torch.float64)[:, None, None, None], None)
        for view, values in ((GAME.real, real), (GAME.fake, fake))
    }
    b = Bundle({"D": Readout()}, Prior(1), torch.Generator(), size=len(real), given=given)
    b.prepare(TERMS["lecam"](GAME))
    return b


def value(term: Any, real: list[float], fake: list[float]) -> float:
    return float(term.loss(bundle(real, fake)))


@pytest.mark.usefixtures("float64")
def test_the_averages_begin_with_the_first_batch_and_then_move_by_a_tenth() -> None:
    (term,) = TERMS["lecam"](GAME, one_sided=False)
    # First batch: α_R = 2, α_F = -1.
    assert value(term, [1, 3], [0, -2]) == pytest.approx((4 + 16) / 2 + (4 + 16) / 2)
    # α_R = 0.9·2 + 0.1·4, α_F = 0.9·-1 + 0.1·1; D(x) is drawn to α_F and D(g) to α_R.
    real, fake = 2.2, -0.8
    expected = ((4 - fake) ** 2 + (4 - fake) ** 2) / 2 + ((0 - real) ** 2 + (2 - real) ** 2) / 2
    assert value(term, [4, 4], [0, 2]) == pytest.approx(expected)


@pytest.mark.usefixtures("float64")
def test_one_sided_forgives_what_lies_on_the_right_side_of_the_average() -> None:
    one, two = (TERMS["lecam"](GAME, one_sided=side)[0] for side in (True, False))
    for term in (one, two):
        value(term, [1, 1], [-1, -1])
    real, fake = 0.9 * 1 + 0.1 * -2, 0.9 * -1 + 0.1 * 0.5
    assert value(one, [-4, 0], [-1, 2]) == pytest.approx((0 - fake) ** 2 / 2 + (real + 1) ** 2 / 2)
    every = ((-4 - fake) ** 2 + (0 - fake) ** 2) / 2 + ((real + 1) ** 2 + (real - 2) ** 2) / 2
    assert value(two, [-4, 0], [-1, 2]) == pytest.approx(every)


def test_an_average_passes_over_what_is_not_finite() -> None:
    average = Average(0.5)
    average(torch.tensor(float("nan")))
    assert not average.started
    assert float(average(torch.tensor(3.0))) == 3
    assert float(average(torch.tensor(float("inf")))) == 3
    assert float(average(torch.tensor(5.0))) == 4
    assert float(Average(0.9, initial=0.0)(torch.tensor(1.0))) == pytest.approx(0.1)


def test_no_gradient_goes_through_the_averages() -> None:
    (term,) = TERMS["lecam"](GAME, one_sided=False)
    logit = torch.tensor([1.0, 3.0], requires_grad=True)
    real, fake = logit[:, None, None, None], torch.zeros(2, 1, 1, 1)
    given = {GAME.real: (real, None), GAME.fake: (fake, None)}
    b = Bundle({"D": Readout()}, Prior(1), torch.Generator(), size=2, given=given)
    b.prepare([term])
    term.loss(b).backward()
    torch.testing.assert_close(logit.grad, torch.tensor([1.0, 3.0]))


def test_it_is_in_force_after_its_start() -> None:
    (term,) = TERMS["lecam"](GAME)
    assert (term.weight, term.player) == (0.3, "D")
    assert [term.strength(step) for step in (0, 999, 1000, 1001)] == [0, 0, 0, 0.3]
    assert TERMS["lecam"](GAME, start=0)[0].strength(0) == 0.3


def averages(state: Any) -> list[float]:
    memory = state.memories["D/lecam"]
    return [float(memory.real.mean), float(memory.fake.mean)]


def test_a_run_averages_before_it_penalises(combinations: ModuleType) -> None:
    state = combinations.tiny_state({"lecam": {"start": 2}})
    plain = combinations.tiny_state({})
    for step in range(4):
        values, other = train_step(state), train_step(plain)
        same = torch.equal(values["D/adversarial"], other["D/adversarial"])
        assert same == (step <= 3)
        assert all(abs(average) > 0 for average in averages(state))
    assert not torch.equal(state.nets["D"].linear.weight, plain.nets["D"].linear.weight)


@pytest.mark.parametrize("terms", [{"lecam": {"start": 0}}, {"path_length": {"every": 1}}])
def test_a_checkpoint_brings_the_memory_back(terms: dict[str, Any], combinations: ModuleType, tmp_path: Path) -> None:
    state, resumed = combinations.tiny_state(terms), combinations.tiny_state(terms)
    for _ in range(3):
        train_step(state)
    (name,) = state.memories
    fresh = resumed.memories[name].state_dict()
    assert any(not torch.equal(old, fresh[key]) for key, old in state.memories[name].state_dict().items())
    load_checkpoint(resumed, save_checkpoint(state, tmp_path, {}, keep=1))
    for _ in range(2):
        expected, actual = train_step(state), train_step(resumed)
        assert all(torch.equal(value, actual[key]) for key, value in expected.items())
    restored = resumed.memories[name].state_dict()
    assert all(torch.equal(value, restored[key]) for key, value in state.memories[name].state_dict().items())


def test_a_checkpoint_without_the_memory_does_not_fit(combinations: ModuleType, tmp_path: Path) -> None:
    path = save_checkpoint(combinations.tiny_state({}), tmp_path, {}, keep=1)
    with pytest.raises(UserError, match="does not fit this run"):
        load_checkpoint(combinations.tiny_state({"lecam": {}}), path)


def test_a_copied_state_has_a_memory_of_its_own(combinations: ModuleType) -> None:
    state = combinations.tiny_state({"lecam": {"start": 0}})
    run_phase(state, "D")
    other, before = copy.deepcopy(state), averages(state)
    run_phase(other, "D")
    assert averages(state) == before
    assert averages(other) != before
