"""Reporting during training and afterwards by command; neither disturbs the run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, tiny_run
from studio_runs import write_run
from their_tracker import CALLS, Recorder, steps

from steadygan.trackers import reporting as module
from steadygan.trackers.reporting import reporting

THEIRS = "their_tracker:Recorder"


@pytest.fixture(autouse=True)
def none_called() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


class Noticing(Recorder):
    """Sets an event when it receives step 11."""

    seen = threading.Event()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        super().scalars(step, values)
        if step == 11:
            self.seen.set()


def test_what_a_run_writes_is_handed_on_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", steps=10)
    monkeypatch.setattr("their_tracker.Recorder", Noticing)
    with reporting(run, [THEIRS], 10, every=0.01):
        with (run / "metrics.jsonl").open("a") as out:
            out.write(json.dumps({"step": 11, "images": 88}) + "\n")
        assert Noticing.seen.wait(60)
    assert CALLS[-1] == ("close",)


def test_the_rest_is_handed_on_when_the_run_ends(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=10)
    with reporting(run, [THEIRS], 0, every=3600):
        pass
    assert steps() == list(range(1, 11))


def test_a_tracker_that_fails_is_named_once_and_the_others_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=10)
    with (
        pytest.warns(UserWarning, match=r"Broken stopped \(ConnectionError: no route to host\)") as told,
        reporting(run, ["their_tracker:Broken", THEIRS], 0, every=3600),
    ):
        pass
    assert len(told) == 1
    assert f"steadygan report {run} --to their_tracker:Broken" in str(told[0].message)
    assert sorted(steps()) == sorted([1, 2, *range(1, 11)])


def test_a_tracker_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = threading.Event()

    def hangs(run: Path, identity: str, config: Mapping[str, Any]) -> Recorder:
        freed.wait(60)
        return Recorder(run, identity, config)

    monkeypatch.setattr("their_tracker.Recorder", hangs)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with (
        pytest.warns(UserWarning, match="did not accept the remaining records"),
        reporting(write_run(tmp_path / "run"), [THEIRS], 0, every=3600),
    ):
        pass
    (thread,) = [thread for thread in threading.enumerate() if thread.name.startswith("tracker ")]
    freed.set()
    thread.join()


def test_a_training_reports_and_its_resume_continues_it(steadygan: Run) -> None:
    each = [f"train.{name}_every=1" for name in ("log", "sample", "checkpoint")]
    settings = tiny_run("train.steps=2", *each, "eval.every=0", "eval.num_fake=8", f"train.report=[{THEIRS}]")
    first = steadygan("train", "digits", *settings, "--out", "run")
    assert first.status == 0, first.err
    identity = CALLS[0][2]
    assert steps() == [1, 2]
    assert [call[1] for call in CALLS if call[0] == "image"] == [1, 2]
    assert [call for call in CALLS if call[0] == "scalars" and any(name.startswith("scores/") for name in call[2])]
    CALLS.clear()
    second = steadygan("train", "run", "--resume", "train.steps=3")
    assert second.status == 0, second.err
    assert CALLS[0] == ("open", "run", identity, "digits")
    assert steps() == [3]


def test_a_tracker_that_is_not_there_is_named_before_anything_is_trained(steadygan: Run, tmp_path: Path) -> None:
    told = steadygan("train", "digits", *tiny_run(), "train.report=[tensorbord]", "--out", "run")
    assert told.status == 2
    assert "train.report: unknown tracker 'tensorbord'; did you mean 'tensorboard'?" in told.err
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_reported_by_command_once(steadygan: Run, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3)
    for _ in range(2):
        assert steadygan("report", run, "--to", THEIRS).out.startswith("reported    ")
    assert steps() == [1, 2, 3]
    assert "is not a run directory" in steadygan("report", tmp_path, "--to", THEIRS).err
    assert "--to: unknown tracker" in steadygan("report", run, "--to", "sheets").err
