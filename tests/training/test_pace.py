"""The scoring interval of a run without `eval.every`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.tasks import synthesis
from steadygan.training import pace
from steadygan.training.pace import Pace, Patience


def test_scores_never_take_more_than_their_share() -> None:
    clock, taken = Pace(), 0.0
    for second in range(1, 4001):
        if clock.due(second, images=100 * second):
            clock.took(5.0)
            taken += 5
            assert taken <= 0.03 * second
    assert taken == 120  # 3 % of 4,000 seconds


def test_the_first_score_is_expected_to_take_as_long_as_training_on_five_hundred_images() -> None:
    assert not Pace().due(160, images=160 * 100)
    assert Pace().due(170, images=170 * 100)


def test_patience_counts_scores_since_the_best_also_after_a_resume() -> None:
    patience = Patience(2)
    for best in (True, False, True, False):
        patience.saw(best)
        assert not patience.ended()
    patience.saw(False)
    assert patience.ended()
    rows = [{"step": step, "eval_seconds": 1.0} for step in (10, 20, 30)] + [{"step": 30, "copies": 0.0}]
    assert Patience.of(2, rows, best=10).ended()
    assert not Patience.of(2, rows, best=20).ended()
    assert not Patience.of(2, rows, best=None).ended()
    assert not Patience(None, worse=1000).ended()


def test_a_run_that_no_longer_improves_ends_with_its_best_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores rise from the second on; the third in a row that is worse ends the run, and a resume says so."""
    rows = iter(range(100))
    monkeypatch.setattr(synthesis, "headline", lambda record: abs(next(rows) - 1))
    settings = tiny_run("train.steps=50", "eval.every=2", "eval.num_fake=20", "eval.patience=3")
    notices: list[str] = []
    result = steadygan.train(
        "digits-none", settings, out=tmp_path / "run", on_step=lambda now: notices.append(now.notice)
    )
    assert result.finished
    assert notices[-1] == "the last 3 scores were no better than the best: the run ends here"
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "scores.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10]
    assert (tmp_path / "run" / "checkpoints" / "best").read_text().strip() == "step-00000004"
    files = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"eval\.patience=3: its last 3 scores .*--resume eval\.patience=6`"):
        steadygan.train(tmp_path / "run", resume=True)
    with pytest.raises(UserError, match=r"was ended by eval\.patience=2"):
        steadygan.train(tmp_path / "run", ["eval.patience=2"], resume=True)
    assert {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()} == files
    assert steadygan.train(tmp_path / "run", ["eval.patience=4"], resume=True).finished
    assert len((tmp_path / "run" / "scores.jsonl").read_text().splitlines()) == 6


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
