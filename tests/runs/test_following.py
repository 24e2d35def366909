"""Reading records while they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steadygan.runs import following
from steadygan.runs.following import Follower, last_rows


def lines(*steps: int) -> str:
    return "".join(json.dumps({"step": step, "loss": step / 2}) + "\n" for step in steps)


def steps(rows: list[following.Row]) -> list[int]:
    return [row["step"] for row in rows]


def test_a_file_that_is_not_there_yet_has_no_rows_and_is_followed_once_it_is(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "metrics.jsonl")
    assert follower.read() == []
    follower.path.write_text(lines(1, 2))
    assert steps(follower.read()) == [1, 2]


def test_each_row_is_read_once_and_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1) + '{"step": 2, "lo')
    follower = Follower(path)
    assert steps(follower.read()) == [1]
    assert follower.read() == []
    with path.open("a") as file:
        file.write('ss": 3.0}\n' + lines(3))
    rows = follower.read()
    assert steps(rows) == [2, 3]
    assert rows[0]["loss"] == 3.0
    assert follower.damaged == 0


def test_events_are_kept_and_damaged_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = json.dumps({"step": 5, "event": "rollback", "from": 9})
    damage = ['{"step": tru', "[1, 2]", '{"step": "7"}', '{"step": true}', "\x00\x00", "[" * 50_000, ""]
    path.write_text("\n".join([*damage, event]) + "\n")
    follower = Follower(path)
    assert follower.read() == [json.loads(event)]
    assert follower.damaged == 6


def test_a_file_that_was_rewritten_is_read_again_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1, 2, 3))
    follower = Follower(path)
    follower.read()
    shorter = tmp_path / "new"
    shorter.write_text(lines(1, 2))
    shorter.replace(path)
    assert steps(follower.read()) == [1, 2]
    assert follower.restarts == 1
    path.write_text(lines(1))
    assert steps(follower.read()) == [1]
    assert follower.restarts == 2


def test_a_deleted_file_and_a_directory_in_its_place_have_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(1))
    follower = Follower(path)
    follower.read()
    path.unlink()
    assert follower.read() == []
    path.mkdir()
    assert follower.read() == []
    assert last_rows(path) == []


def test_long_files_are_read_in_parts_even_where_a_line_is_longer_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHUNK", 64)
    path = tmp_path / "metrics.jsonl"
    long = json.dumps({"step": 3, "name": "x" * 500}) + "\n"
    path.write_text(lines(*range(1, 3)) + long + lines(*range(4, 40)))
    parts = list(Follower(path).parts())
    assert [row["step"] for part in parts for row in part] == [1, 2, *range(3, 40)]
    assert len(parts) > 5


def test_the_last_rows_come_from_the_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(*range(1000)) + '{"step": 1000, "torn')
    assert steps(last_rows(path, 3)) == [997, 998, 999]
    assert steps(last_rows(path, 50, at_most=100)) == [998, 999]
    assert last_rows(tmp_path / "absent.jsonl") == []
