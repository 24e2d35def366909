"""A collapse is detected, reported and acted upon; losses that only fluctuate are not."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import load_file

import steadygan
from steadygan.errors import UserError
from steadygan.objective.adversarial import LOSSES
from steadygan.runs.checkpoint import checkpoints
from steadygan.training.collapse import (
    LEAST_DIVERSITY,
    LINES,
    SATURATED_LOSS,
    SCORE_JUMP,
    STEPS,
    Collapse,
    CollapseDetector,
    Lasting,
    score_jump,
)
from steadygan.training.recovery import Recovery

WELL = {"G_diversity": 0.8, "D_accuracy_train": 0.9, "D_accuracy_fake": 1.0, "D/adversarial": 1.0, "G/adversarial": 0.5}
ALIKE = {"G_diversity": 0.99 * LEAST_DIVERSITY}
SATURATED = {"D_accuracy_train": 1.0, "D/adversarial": 0.01, "G/adversarial": 9.0}


def found(changes: list[dict[str, Any]], every: int = 100, loss: str = "hinge") -> list[Collapse]:
    """The detector's verdict on a healthy run's lines with these changes."""
    detector = CollapseDetector(LOSSES[loss])
    lines = ({"step": every * (i + 1)} | WELL | change for i, change in enumerate(changes))
    return [collapse for line in lines if (collapse := detector.look(line)) is not None]


def test_a_healthy_run_has_not_collapsed() -> None:
    assert found([{}] * 100) == []


@pytest.mark.parametrize(("change", "words"), [(ALIKE, "almost identical"), (SATURATED, "nothing left to learn")])
def test_a_lasting_symptom_is_a_collapse_told_once(change: dict[str, Any], words: str) -> None:
    (collapse,) = found([{}] * 7 + [change] * 50)
    assert words in collapse.symptom
    assert collapse.since == 700
    assert collapse.step == 700 + 100 * LINES


@pytest.mark.parametrize("change", [ALIKE, SATURATED])
def test_a_bad_moment_is_not(change: dict[str, Any]) -> None:
    assert found(([change] * (LINES - 1) + [{}]) * 10) == []


def test_ten_lines_in_ten_steps_are_no_more_than_a_moment() -> None:
    assert found([ALIKE] * (STEPS - 1), every=1) == []
    (collapse,) = found([ALIKE] * STEPS, every=1)
    assert collapse.step == STEPS
    assert collapse.since == 0


def test_a_second_collapse_after_a_recovery_is_told_again() -> None:
    assert [collapse.since for collapse in found([ALIKE] * 15 + [{}] + [ALIKE] * 15)] == [0, 1600]


@pytest.mark.parametrize(
    "missing", [{"D_accuracy_train": 0.99}, {"D_accuracy_fake": 0.98}, {"D/adversarial": 2.1 * SATURATED_LOSS}]
)
def test_a_critic_that_is_merely_good_is_not_saturated(missing: dict[str, float]) -> None:
    assert found([SATURATED | missing] * 50) == []


@pytest.mark.parametrize(
    ("loss", "value"), [("hinge", 2), ("non-saturating", 2 * math.log(2)), ("least-squares", 0.25)]
)
def test_what_an_undecided_critic_pays(loss: str, value: float) -> None:
    assert LOSSES[loss].undecided == pytest.approx(value)
    assert found([SATURATED | {"D/adversarial": 1.01 * SATURATED_LOSS * value}] * 50, loss=loss) == []
    assert len(found([SATURATED | {"D/adversarial": 0.99 * SATURATED_LOSS * value}] * 50, loss=loss)) == 1


def test_without_a_boundary_the_loss_of_the_critic_alone_tells_that_it_is_saturated() -> None:
    row = {"G_diversity": 0.8, "G/adversarial": 9.0}
    assert found([row | {"D/adversarial": 1.01 * SATURATED_LOSS * math.log(2)}] * 50, loss="relativistic") == []
    assert len(found([row | {"D/adversarial": 0.99 * SATURATED_LOSS * math.log(2)}] * 50, loss="relativistic")) == 1


def test_a_wasserstein_critic_is_never_saturated() -> None:
    assert found([SATURATED | {"D/adversarial": -1e9}] * 50, loss="wasserstein") == []


def test_lines_that_say_nothing_neither_begin_nor_end_a_symptom() -> None:
    """Events, values that were not finite, objectives without an adversarial term."""
    silent = dict.fromkeys(WELL)
    assert found([silent] * 50) == []
    assert [collapse.since for collapse in found([{}] + [ALIKE, silent] * LINES)] == [100]


def test_symptoms_are_counted_apart() -> None:
    lasting = Lasting()
    assert [lasting.look(100 * i, i > 2) for i in range(1, LINES + 4)] == [False] * (LINES + 1) + [True, False]
    both = found([ALIKE | SATURATED] * 20)
    assert ["identical" in collapse.symptom for collapse in both] == [True, False]


@pytest.mark.parametrize(
    ("score", "best", "jumped"),
    [
        (SCORE_JUMP * 10 + 0.1, 10, True),
        (SCORE_JUMP * 10, 10, False),
        (1e9, math.inf, False),
        (1.0, 0.0, False),
        (1.0, -0.1, False),
    ],
)
def test_a_score_jump_is_told_from_the_best_before(score: float, best: float, jumped: bool) -> None:
    assert (score_jump(7, score, best) is not None) == jumped


TINY = tiny_run("train.sample_every=1000", "objective.terms.bcr=null", "objective.terms.zcr=null")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the patience, for runs a tenth as long."""
    monkeypatch.setattr("steadygan.training.collapse.STEPS", STEPS // 10)


HASTY = [*TINY, "data.channels=3", "train.log_every=5", "train.steps=80", "train.checkpoint_every=40"]
DOOMED = [*HASTY, "optim.g.lr=1000", "train.steps=160"]  # by step 60 where the first steps do not waver


@pytest.mark.usefixtures("hasty")
def test_a_run_that_collapses_stops_and_says_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training collapsed at step ([5-9]|1[0-5])\d: ") as caught:
        steadygan.train("digits", DOOMED, out=tmp_path / "run")
    message = str(caught.value)
    assert re.search(
        r"G_diversity \S+: the spread|D_accuracy_fake are 1, D/adversarial is \S+, G/adversarial is", message
    )
    assert "Lower optim.d.lr or optim.g.lr" in message
    assert f"`steadygan train {tmp_path / 'run'} --resume train.collapse=rollback`" in message
    last = rows(tmp_path / "run")[-1]
    assert (last["event"], last["policy"]) == ("collapse", "stop")
    assert last["symptom"] in message
    assert checkpoints(tmp_path / "run/checkpoints"), "nothing is lost"


@pytest.mark.usefixtures("hasty")
def test_a_run_told_to_continue_goes_on_and_notes_the_collapse(tmp_path: Path) -> None:
    notices = {}
    result = steadygan.train(
        "digits",
        [*DOOMED, "train.collapse=continue"],
        out=tmp_path / "run",
        on_step=lambda now: notices.update({now.step: now.notice} if now.notice else {}),
    )
    assert result.finished
    events = [row for row in rows(result.path) if "event" in row]
    assert {row["policy"] for row in events} == {"continue"}
    assert [row["step"] for row in events] == list(notices)
    assert all(notice.startswith(f"collapsed at step {step}: ") for step, notice in notices.items())


@pytest.mark.usefixtures("hasty")
def test_the_default_objective_is_no_false_alarm(tmp_path: Path) -> None:
    """At width 2 its images can be alike for 100 steps; at width 4, of four seeds in float32, for at most 35."""
    result = steadygan.train("digits", [*HASTY, "model.width=4", "train.collapse=stop"], out=tmp_path / "run")
    assert result.finished
    assert not [row for row in rows(result.path) if "event" in row]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Scores to be returned one after the other, the last one repeatedly."""
    values = [10.0, 2.0, 10.1, 3.0]
    monkeypatch.setattr(
        "steadygan.tasks.synthesis.Synthesis.scorer",
        lambda *_: lambda _: ({"protocol": {"name": "made up"}}, values.pop(0) if len(values) > 1 else values[0]),
    )
    return values


SCORED = [*TINY, "train.log_every=1", "train.steps=6", "eval.every=1", "train.keep_checkpoints=1"]


@pytest.mark.usefixtures("scores")
def test_a_score_that_jumps_stops_the_run_and_the_best_stays_usable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"collapsed at step 3: the score jumped to 10.1, .* the best, 2\.") as caught:
        steadygan.train("digits", SCORED, out=tmp_path / "run")
    assert "step-00000002 is the best one, of score 2, and stays" in str(caught.value)
    assert steadygan.load(tmp_path / "run").step == 2
    result = steadygan.train(tmp_path / "run", ["train.collapse=continue"], resume=True)
    assert result.finished
    assert steadygan.load(tmp_path / "run").step == 2


@pytest.mark.usefixtures("scores")
def test_a_run_told_to_roll_back_goes_on_from_the_best_checkpoint(tmp_path: Path) -> None:
    notices = []
    result = steadygan.train(
        "digits",
        [*SCORED, "train.collapse=rollback"],
        out=tmp_path / "run",
        on_step=lambda now: notices.append(now.notice),
    )
    assert result.finished
    lines = rows(result.path)
    (event,) = [row for row in lines if "event" in row]
    assert (event["event"], event["step"], event["from"], event["number"]) == ("rollback", 2, 3, 1)
    assert "the score jumped to 10.1" in event["reason"]
    assert [row["step"] for row in lines if "event" not in row] == [1, 2, 3, 4, 5, 6]
    assert next(filter(None, notices)).startswith("rolled back from step 3 to 2: the score jumped")
    assert [path.name for path in checkpoints(result.path / "checkpoints")] == ["step-00000002", "step-00000006"]


def test_patience_after_a_rollback_counts_the_scores_that_are_left(scores: list[float], tmp_path: Path) -> None:
    scores[:] = [10.0, 2.0, 3.0, 10.1, 3.0]
    options = [*SCORED, "train.collapse=rollback", "eval.patience=2"]
    run = steadygan.train("digits", options, out=tmp_path / "run").path
    assert [json.loads(line)["step"] for line in (run / "scores.jsonl").read_text().splitlines()] == [1, 2, 3, 4]
    assert steadygan.load(run).step == 2


class Killed(Exception):
    pass


@pytest.fixture
def killed_after_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after each rollback."""
    follow = Recovery._follow

    def dying(*args: Any) -> bool:
        if follow(*args):
            raise Killed
        return False

    monkeypatch.setattr(Recovery, "_follow", dying)


def test_a_run_killed_after_a_rollback_goes_on_as_if_it_had_not_been(
    scores: list[float], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With random numbers other than the failed ones."""
    overrides, values = [*SCORED, "train.collapse=rollback"], list(scores)
    whole = steadygan.train("digits", overrides, out=tmp_path / "whole").path
    scores[:] = values
    request.getfixturevalue("killed_after_rollback")
    with pytest.raises(Killed):
        steadygan.train("digits", overrides, out=tmp_path / "killed")
    killed = steadygan.train(tmp_path / "killed", resume=True).path
    scores[:] = [10.0, 2.0, 3.0]
    unharmed = steadygan.train("digits", overrides, out=tmp_path / "unharmed").path
    a, b, c = (
        load_file(run / "checkpoints/step-00000006/weights.safetensors")["G.linear.weight"]
        for run in (whole, killed, unharmed)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.usefixtures("killed_after_rollback")
def test_rollbacks_that_do_not_help_end_the_run_however_often_it_was_killed_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count is the directory's, not the process's."""
    monkeypatch.setattr(
        "steadygan.tasks.synthesis.Synthesis.scorer",
        lambda *_: lambda state: ({"protocol": {"name": "made up"}}, 1.0 if state.step == 1 else 100.0),
    )
    with pytest.raises(Killed):
        steadygan.train("digits", [*SCORED, "train.collapse=rollback"], out=tmp_path / "run")
    for number in (2, 3):
        with pytest.raises(Killed):
            steadygan.train(tmp_path / "run", resume=True)
        assert [row["number"] for row in rows(tmp_path / "run") if "event" in row] == list(range(1, number + 1))
    with pytest.raises(UserError, match=r"training diverged at step 2: the score jumped .* 3 rollbacks did not help"):
        steadygan.train(tmp_path / "run", resume=True)
