"""Reading run directories in any state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.runs.reading import last_score, read_run, read_runs


def test_a_young_run_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: young\ntrain: {steps: 3}\n")
    run = read_run(tmp_path)
    assert (run.metrics, run.scores, run.events) == ([], [], [])
    assert run.config == {"name": "young", "train.steps": 3}
    assert last_score(tmp_path) == {}


def test_events_are_kept_apart_from_measurements(tmp_path: Path) -> None:
    event = {"step": 1, "event": "rollback", "from": 2}
    (tmp_path / "metrics.jsonl").write_text(f'{{"schema": 1, "step": 1}}\n{json.dumps(event)}\n')
    run = read_run(tmp_path)
    assert run.metrics == [{"step": 1}]
    assert run.events == [event]


def test_damaged_lines_are_left_out_with_a_warning_and_a_torn_one_without(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": -\n{"step": 2}\n{"step": 3, "los')
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: a damaged line left out"):
        run = read_run(tmp_path)
    assert [row["step"] for row in run.metrics] == [1, 2]


def test_records_of_a_later_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"schema": 99, "step": 1}\n')
    with pytest.raises(UserError, match="later version"):
        read_run(tmp_path)


def test_a_young_run_among_others_is_left_out_with_a_warning(tmp_path: Path) -> None:
    for name in ("old", "young"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("name: run\n")
    (tmp_path / "old/metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.warns(UserWarning, match="without a log line yet: .*young"):
        assert [run.name for run in read_runs([tmp_path / "old", tmp_path / "young"])] == ["old"]


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"[" * 5000, b"a: [", b"when: 2024-99-99"], ids=len)
def test_a_damaged_configuration_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(damage)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_run(tmp_path)
