"""Requests to a run from outside."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.runs.requests import FILE, Attention, ask, asked, take


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: tiny\n")
    return tmp_path


def test_a_request_is_taken_once(run: Path) -> None:
    assert take(run) is None
    ask(run, "stop")
    assert asked(run) == "stop"
    assert take(run) == "stop"
    assert take(run) is None
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml"]


def test_the_newest_request_counts(run: Path) -> None:
    ask(run, "pause")
    ask(run, "resume")
    assert take(run) == "resume"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"do": "format"}', '{"do": ["stop"]}', "\xff"])
def test_a_request_that_cannot_be_read_is_removed_and_asks_for_nothing(run: Path, text: str) -> None:
    (run / FILE).write_bytes(text.encode("latin-1"))
    assert asked(run) is None
    assert take(run) is None
    assert not (run / FILE).exists()


def test_what_cannot_be_asked_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not 'delete'"):
        ask(run, "delete")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="is not a run directory"):
        ask(tmp_path / "elsewhere", "stop")


def test_a_stop_is_heeded_once(run: Path) -> None:
    attention = Attention(run, interval=0)
    assert not attention.called()
    ask(run, "stop")
    assert attention.called()
    assert attention.stops()
    assert not attention.called()
    assert not attention.stops()


def test_between_looks_nothing_is_read(run: Path) -> None:
    attention = Attention(run, interval=1000)
    assert not attention.called()
    ask(run, "stop")
    assert not attention.called()
    assert asked(run) == "stop"


def test_what_an_earlier_process_left_unheard_is_not_heeded(run: Path) -> None:
    ask(run, "stop")
    attention = Attention(run, since=time.time() + 1)
    assert attention.called()
    assert not attention.stops()
    assert asked(run) is None


@pytest.mark.parametrize(("end", "stops"), [("resume", False), ("stop", True)])
def test_a_pause_lasts_until_it_is_ended(run: Path, end: str, stops: bool) -> None:
    told: list[bool] = []

    def on_pause(paused: bool) -> None:
        told.append(paused)
        if len(told) == 3:
            ask(run, end)  # type: ignore[arg-type]

    ask(run, "pause")
    assert Attention(run, interval=0).stops(on_pause=on_pause) is stops
    assert told == [True, True, True, False]


def test_a_signal_ends_a_pause(run: Path) -> None:
    signals: list[int] = []
    told: list[bool] = []

    def on_pause(paused: bool) -> None:
        told.append(paused)
        signals.append(2)

    ask(run, "pause")
    assert not Attention(run, interval=0).stops(signals, on_pause=on_pause)
    assert told == [True, False]
