"""A tracker receives every line exactly once, whatever happens to the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import their_tracker
from studio_runs import PROTOCOL, write_run
from their_tracker import CALLS, Broken, Recorder, Rewinder, steps

from steadygan.errors import UserError
from steadygan.trackers.reporter import Reporter


@pytest.fixture(autouse=True)
def none_called() -> Iterator[None]:
    CALLS.clear()
    yield
    CALLS.clear()


def add(run: Path, *rows: dict[str, Any], file: str = "metrics.jsonl") -> None:
    with (run / file).open("a") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def report(run: Path, tracker: type[Recorder] = Recorder, at: int | None = None) -> None:
    """One process: opens the tracker at the run's first step, sends everything, closes."""
    reporter = Reporter(run, "theirs", tracker)
    if at is not None:
        reporter.rewind(at)
    reporter.send()
    reporter.close()


def scores() -> list[tuple[int, dict[str, float]]]:
    return [call[1:] for call in CALLS if call[0] == "scalars" and "images" not in call[2]]


def test_lines_scores_grids_and_the_configuration_are_handed_on(tmp_path: Path) -> None:
    report(write_run(tmp_path / "run", steps=3))
    assert CALLS[0][:2] == ("open", "run")
    assert CALLS[0][3] == "run"
    assert CALLS[1] == ("scalars", 1, {"images": 8.0, "images_per_s": 40.0, "D/adversarial": 1.0})
    assert steps() == [1, 2, 3]
    assert [(step, list(values.values())) for step, values in scores()] == [(5, [10.0]), (10, [5.0])]
    assert [call[1:] for call in CALLS if call[0] == "image"] == [(5, "step-00000005.png"), (10, "step-00000010.png")]
    assert CALLS[-1] == ("close",)


def test_a_later_process_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=3)
    report(run)
    before, identity = len(CALLS), CALLS[0][2]
    add(run, {"step": 4, "images": 32})
    report(run)
    assert CALLS[before:] == [
        ("open", "run", identity, "run"),
        ("scalars", 4, {"images": 32.0}),
        ("flush",),
        ("close",),
    ]


def test_steps_taken_again_are_handed_on_again_where_the_tracker_takes_them_back(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=4)
    report(run, Rewinder)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    (run / "samples" / "step-00000010.png").unlink()
    add(run, {"step": 3, "images": 25})
    CALLS.clear()
    report(run, Rewinder, at=2)
    assert ("rewind", 2) in CALLS
    assert steps() == [3]
    assert [step for step, _ in scores()] == [5, 10]
    assert [call[1] for call in CALLS if call[0] == "image"] == [5]


def test_a_tracker_that_takes_nothing_back_has_no_step_twice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=4)
    report(run)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    CALLS.clear()
    reporter = Reporter(run, "theirs", Recorder)
    reporter.rewind(2)
    for step in range(3, 7):
        add(run, {"step": step, "images": step})
        reporter.send()
    reporter.close()
    assert steps() == [5, 6]
    assert scores() == []


def test_a_rollback_takes_back_once_what_followed_its_checkpoint(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=4)
    (run / "scores.jsonl").unlink()
    reporter = Reporter(run, "theirs", Rewinder)
    reporter.send()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    add(run, {"step": 2, "event": "rollback", "from": 4, "number": 1}, {"step": 3, "images": 24})
    CALLS.clear()
    reporter.send()
    reporter.send()
    reporter.close()
    assert [call for call in CALLS if call[0] == "rewind"] == [("rewind", 2)]
    assert steps() == [3]
    CALLS.clear()
    report(run, Rewinder)
    assert not [call for call in CALLS if call[0] in ("rewind", "scalars")]


def test_a_score_of_an_earlier_checkpoint_is_handed_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    report(run)
    CALLS.clear()
    add(run, {"step": 5, "precision": 0.5, "eval_seconds": 2.0, "protocol": PROTOCOL}, file="scores.jsonl")
    report(run)
    ((step, values),) = scores()
    assert step == 5
    assert list(values.values()) == [0.5]


def test_scores_of_two_protocols_have_two_names_and_say_what_they_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    more = {**PROTOCOL, "num_fake": 1000}
    add(run, {"step": 10, "FD-digits": 4.0, "protocol": more}, file="scores.jsonl")
    report(run)
    names = {name for _, values in scores() for name in values}
    assert len(names) == 2
    assert all(name.startswith("scores/FD-digits/digits-") for name in names)
    facts = [call[2]["num_fake"] for call in CALLS if call[0] == "facts"]
    assert facts == [10, 1000]


def test_what_diverged_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=1)
    add(run, {"step": 2, "images": 16, "D/adversarial": None, "mode": "eager", "flag": True, "list": [1]})
    with (run / "metrics.jsonl").open("a") as out:
        out.write('{"step": 3, "images": NaN, "G/adversarial": 1}\n{"step": 4, "ima')
    reporter = Reporter(run, "theirs", Recorder)
    reporter.send()
    assert CALLS[2:4] == [("scalars", 2, {"images": 16.0}), ("scalars", 3, {"G/adversarial": 1.0})]
    with (run / "metrics.jsonl").open("a") as out:
        out.write('ges": 9}\n')
    reporter.send()
    reporter.close()
    assert ("scalars", 4, {"images": 9.0}) in CALLS


def test_one_process_at_a_time_reports_a_run_to_a_tracker(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    first = Reporter(run, "theirs", Recorder)
    with pytest.raises(UserError, match="another process reports this run to theirs"):
        Reporter(run, "theirs", Recorder)
    other = Reporter(run, "another:one", Recorder)
    other.close()
    first.close()
    report(run)


def test_what_was_handed_on_before_an_error_is_not_handed_on_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=5)
    reporter = Reporter(run, "theirs", Broken)
    with pytest.raises(ConnectionError):
        reporter.send()
    reporter.close()
    report(run)
    assert steps() == [1, 2, 3, 4, 5]


def test_a_damaged_memory_starts_anew(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2)
    (run / "tracker-theirs.json").write_text('{"schema": 1, "line": "many"}')
    report(run)
    assert steps() == [1, 2]


def test_a_run_that_has_reported_nothing_yet_is_no_error(tmp_path: Path) -> None:
    report(tmp_path)
    assert [call[0] for call in CALLS] == ["open", "close"]
    assert their_tracker.steps() == []
