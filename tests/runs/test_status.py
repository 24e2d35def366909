"""A run's status."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from helpers import tiny_run

import steadygan
from steadygan.errors import Collapsed, UserError
from steadygan.run import reporting
from steadygan.runs import status as module
from steadygan.runs.requests import ask
from steadygan.runs.status import FILE, Status, is_finished, read_status

TINY = [*tiny_run("train.log_every=1"), "data.channels=3"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have passed."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_it_says_who_is_doing_what_and_how_far(tmp_path: Path) -> None:
    Status(tmp_path, steps=9, step=4).say("starting", "why")
    said = read_status(tmp_path)
    assert said is not None
    assert (said["schema"], said["state"], said["message"]) == (1, "starting", "why")
    assert (said["step"], said["steps"]) == (4, 9)
    assert (said["pid"], said["host"]) == (os.getpid(), socket.gethostname())
    assert 0 < said["started"] <= said["heartbeat"]


def test_it_is_written_every_few_seconds_at_most_and_at_once_in_a_new_state(tmp_path: Path, clock: list[float]) -> None:
    status = Status(tmp_path, steps=100)

    def written() -> tuple[str, int]:
        said = read_status(tmp_path)
        assert said is not None
        return said["state"], said["step"]

    status.say("starting")
    status.beat(1)
    assert written() == ("running", 1)
    clock[0] += module.BEAT_SECONDS - 0.1
    status.beat(2)
    assert written() == ("running", 1)
    clock[0] += 0.1
    status.beat(3)
    assert written() == ("running", 3)
    status.beat(4, "paused")
    assert written() == ("paused", 4)


def test_a_file_that_cannot_be_written_is_warned_of_once(tmp_path: Path) -> None:
    status = Status(tmp_path / "gone", steps=1)
    with pytest.warns(UserWarning, match=r"status\.json: cannot be written.*training continues"):
        status.say("running")
    status.say("finished")


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"\xff", b'{"state": "odd"}', b"[" * 50_000], ids=lambda c: str(c)[:20]
)
def test_what_cannot_be_read_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert read_status(tmp_path) is None
    assert not is_finished(tmp_path)


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (Collapsed("all alike"), "collapsed", "all alike"),
        (UserError("the disk is full"), "failed", "the disk is full"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), "stopped", "at once, by KeyboardInterrupt"),
    ],
)
def test_every_way_out_is_said(tmp_path: Path, error: BaseException, state: str, message: str) -> None:
    began = []

    def run() -> None:
        with reporting(Status(tmp_path, steps=1)):
            began.append((read_status(tmp_path) or {})["state"])
            raise error

    with pytest.raises(type(error)):
        run()
    assert began == ["starting"]
    said = read_status(tmp_path) or {}
    assert (said["state"], said["message"]) == (state, message)


def test_a_run_is_running_then_stopped_when_asked_then_finished(tmp_path: Path) -> None:
    run, seen = tmp_path / "run", []

    def look(now: Any) -> None:
        seen.append((read_status(run) or {})["state"])
        ask(run, "stop")

    result = steadygan.train("digits", [*TINY, "train.steps=1000000"], out=run, on_step=look)
    assert not result.finished
    assert set(seen) == {"running"}
    said = read_status(run) or {}
    assert said["state"] == "stopped"
    assert not is_finished(run)
    assert (run / f"checkpoints/step-{said['step']:08d}").is_dir()
    steadygan.train(run, [f"train.steps={said['step'] + 1}"], resume=True)
    assert is_finished(run)
    after = json.loads((run / FILE).read_text())
    assert (after["state"], after["step"], after["steps"]) == ("finished", said["step"] + 1, said["step"] + 1)
