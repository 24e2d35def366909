"""Runs that end by the clock."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import tiny_run

import steadygan
from steadygan.config import TrainConfig
from steadygan.errors import UserError
from steadygan.tasks.synthesis import Synthesis
from steadygan.training import clock as clocks
from steadygan.training.clock import Clock
from steadygan.training.loop import Trainer
from steadygan.training.pace import Pace

HOUR = 3600.0
TINY = tiny_run("train.log_every=1", "data.channels=3", "eval.every=1000")


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is set."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def test_without_hours_a_run_is_where_its_steps_are(hands: SimpleNamespace) -> None:
    clock = Clock.of(TrainConfig(steps=100))
    hands.seconds = 1e6
    assert [clock.moment(step) for step in (0, 7, 100)] == [0, 7, 100]


def test_with_hours_it_is_where_the_time_is_if_that_is_further(hands: SimpleNamespace) -> None:
    clock = Clock.of(TrainConfig(steps=100, hours=2))
    hands.seconds = HOUR
    assert clock.moment(3) == 50
    assert clock.moment(60) == 60
    hands.seconds = 3 * HOUR
    assert clock.moment(3) == 100


def test_the_time_that_the_last_score_needs_is_part_of_the_budget(hands: SimpleNamespace) -> None:
    clock = Clock.of(TrainConfig(steps=100, hours=1))
    clock.reserve = 600
    hands.seconds = 2999
    assert clock.moment(0) == 99
    hands.seconds = 3000
    assert clock.moment(0) == 100
    clock.reserve = 1e9  # half the budget at most
    hands.seconds = 900
    assert clock.moment(0) == 50


def test_a_pause_takes_no_time(hands: SimpleNamespace) -> None:
    clock = Clock.of(TrainConfig(steps=100, hours=1))
    hands.seconds = 10
    with clock.halted():
        hands.seconds = 5000
    assert clock.spent == 10


def test_a_resumed_clock_goes_on_from_the_last_line_that_says_what_was_spent() -> None:
    rows = [{"step": 1, "spent": 5.0}, {"step": 2, "spent": 9.0}, {"step": 3, "event": "rollback"}]
    assert Clock.of(TrainConfig(), rows, seconds=2.0).before == 9
    assert Clock.of(TrainConfig(), rows[2:], seconds=2.0).before == 2


def test_hours_end_a_run_and_carry_its_learning_rate_to_nought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a glance moves on by 100 s: the run ends by it, long before its steps."""
    monkeypatch.setattr(Synthesis, "scorer", lambda *_: None)  # the time it would need is real time
    ticks = itertools.count(0, 100)
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    monkeypatch.setattr(Pace, "expected", lambda *_: 0.0)
    rates: list[float] = []
    follow = Trainer._follow_schedules

    def watched(self: Trainer, step: int) -> None:
        follow(self, step)
        rates.append(self.state.optimizers["G"].param_groups[0]["lr"])

    monkeypatch.setattr(Trainer, "_follow_schedules", watched)
    hours = ["train.hours=0.5", "train.steps=1000000", "optim.schedule=linear", "optim.decay_from=0", "optim.g.lr=1"]
    result = steadygan.train("digits-none", [*TINY, *hours], out=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert result.finished
    assert 2 < len(rates) < 30  # a glance or two a step, of 18 in half an hour
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.8
    assert rates[-1] < 0.4
    assert rows[-1]["spent"] >= 1800 >= rows[-2]["spent"]
    assert (tmp_path / f"run/checkpoints/step-{rows[-1]['step']:08d}").is_dir()
    with pytest.raises(UserError, match=r"has used up its time.*train\.hours=1"):
        steadygan.train(tmp_path / "run", resume=True)


def test_slow_surroundings_leave_time_for_the_first_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take no time on a clock that a glance moves on by 100 s; what lies between them, half an hour in all."""
    ticks = itertools.count(0, 100)
    monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    steadygan.train("digits-none", [*TINY, "train.hours=0.5", "train.steps=1000000"], out=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert 900 <= rows[-1]["spent"] < 1800, "a score may take half of the budget, so it begins after half of it"


def test_a_first_sheet_that_takes_all_the_time_leaves_a_step_a_checkpoint_and_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hands: SimpleNamespace
) -> None:
    sample = Trainer._sample

    def slow(self: Trainer) -> None:
        sample(self)
        hands.seconds += 4000

    monkeypatch.setattr(Trainer, "_sample", slow)
    first = [*TINY, "train.sample_first=10", "train.hours=1", "train.steps=1000000"]
    assert steadygan.train("digits-none", first, out=tmp_path / "run").finished
    assert steadygan.load(tmp_path / "run").sample(2).shape == (2, 3, 16, 16)
    assert json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])["step"] == 1


def test_a_slow_first_sheet_is_not_taken_for_slow_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hands: SimpleNamespace
) -> None:
    """Half of the hour goes to the first sheet, then each step takes ten seconds."""
    sample, follow = Trainer._sample, Trainer._follow_schedules

    def slow(self: Trainer) -> None:
        sample(self)
        hands.seconds += 1700 if self.state.step == 0 else 0

    def stepping(self: Trainer, step: int) -> None:
        follow(self, step)
        hands.seconds += 10

    monkeypatch.setattr(Trainer, "_sample", slow)
    monkeypatch.setattr(Trainer, "_follow_schedules", stepping)
    first = [*TINY, "train.sample_first=10", "train.hours=1", "train.steps=1000000"]
    steadygan.train("digits-none", first, out=tmp_path / "run")
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] > 100, "ten seconds each of the 1,900 that are left, less those of a score"


def test_first_grids_come_at_doublings_then_at_multiples(tmp_path: Path) -> None:
    grids = ["train.steps=13", "train.sample_first=1", "train.sample_every=6"]
    steadygan.train("digits-none", [*TINY, *grids], out=tmp_path / "run")
    steps = [int(path.stem.removeprefix("step-")) for path in sorted((tmp_path / "run/samples").glob("step-*.png"))]
    assert steps == [0, 1, 2, 4, 6, 12, 13]
