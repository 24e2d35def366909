"""A run that was not told when to score itself: how often it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import tiny_run

import steadygan
from steadygan.training import pace
from steadygan.training.pace import Pace


def test_scores_never_take_more_than_their_share() -> None:
    clock, taken = Pace(), 0.0
    for second in range(1, 4001):
        if clock.due(second, images=100 * second):
            clock.took(5.0)
            taken += 5
            assert taken <= 0.03 * second
    assert taken == 120  # 3 % of 4,000 seconds


def test_the_first_score_waits_for_the_time_that_training_on_as_many_images_takes() -> None:
    assert not Pace().due(600, images=600 * 100)
    assert Pace().due(700, images=700 * 100)


def test_a_run_that_goes_on_remembers_what_its_scores_took() -> None:
    rows = [{"step": 1, "eval_seconds": 2.0}, {"step": 2, "eval_seconds": 4.0}, {"step": 2, "copies": 0.0}]
    assert Pace.of(rows) == Pace(6.0, 4.0)
    assert Pace.of([]) == Pace()


@pytest.mark.parametrize(("every", "steps"), [("null", [2, 4, 5]), ("0", [5]), ("3", [3, 5])])
def test_when_a_run_is_scored(every: str, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is time for any number of scores, unasked ones are at the lines of the log."""
    monkeypatch.setattr(pace, "SHARE", 1e9)
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    settings = tiny_run("train.steps=5", "train.log_every=2", "eval.num_fake=20", f"eval.every={every}")
    steadygan.train("digits-none", settings, out=tmp_path / "run")
    lines = (tmp_path / "run" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == steps
    best = (tmp_path / "run" / "checkpoints" / "best").read_text().strip()
    assert (tmp_path / "run" / "checkpoints" / best).is_dir()
