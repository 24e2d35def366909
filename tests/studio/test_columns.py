"""Measurements by column, thinned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steadygan.studio import columns
from steadygan.studio.columns import Columns, thin


def written(path: Path, rows: list[dict[str, Any]]) -> Columns:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Columns(path)
    found.refresh()
    return found


def everything(found: Columns, name: str, points: int = 500) -> dict[str, Any]:
    return found.thin(name, -math.inf, math.inf, points)


def test_few_values_come_as_they_are_and_what_diverged_is_none(tmp_path: Path) -> None:
    rows = [{"step": 1, "a": 0.5}, {"step": 2, "b": 7}, {"step": 3, "a": None}, {"step": 4, "a": 1e-9}]
    found = written(tmp_path / "metrics.jsonl", rows)
    assert everything(found, "a") == {"steps": [1, 3, 4], "values": [0.5, None, 1e-9], "total": 3}
    assert everything(found, "b") == {"steps": [2], "values": [7.0], "total": 1}
    assert everything(found, "absent")["steps"] == []
    assert found.span == (1, 4)


def test_events_are_no_measurements(tmp_path: Path) -> None:
    rows = [{"step": 1, "a": 1.0}, {"step": 1, "event": "rollback", "from": 2}]
    found = written(tmp_path / "metrics.jsonl", rows)
    assert found.events == rows[1:]
    assert found.names == ["a"]


def test_no_peak_is_lost_by_thinning() -> None:
    steps = np.arange(100_000)
    values = np.sin(steps / 1000)
    values[54_321], values[77_777] = 9.0, -9.0
    found = thin(steps, values, 0, 100_000, 50)
    assert len(found["steps"]) == 50
    assert max(found["high"]) == 9.0
    assert min(found["low"]) == -9.0
    assert found["total"] == 100_000
    inside = thin(steps, values, 54_000, 55_000, 50)
    assert inside["total"] == 1001
    assert max(inside["high"]) == 9.0
    assert inside["steps"][0] >= 54_000
    assert inside["steps"][-1] <= 55_000


def test_means_are_those_of_their_stretches() -> None:
    found = thin(np.arange(1000), np.arange(1000.0), 0, 1000, 10)
    np.testing.assert_allclose(found["mean"], np.arange(1000.0).reshape(10, 100).mean(1), atol=0.6)


def test_after_a_rollback_the_later_measurement_counts() -> None:
    found = thin(np.array([1, 2, 3, 2, 3]), np.array([1.0, 2.0, 3.0, 20.0, 30.0]), 0, 9, 50)
    assert found["steps"] == [1, 2, 3]
    assert found["values"] == [1.0, 20.0, 30.0]


def test_what_is_added_shows_up_and_what_was_cut_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    found = written(path, [{"step": s, "a": s} for s in range(5)])
    before = found.version
    with path.open("a") as file:
        file.write('{"step": 5, "a": 5}\n')
    found.refresh()
    assert everything(found, "a")["steps"] == [0, 1, 2, 3, 4, 5]
    assert found.version > before
    (tmp_path / "new").write_text('{"step": 0, "a": 0}\n')
    (tmp_path / "new").replace(path)
    found.refresh()
    assert everything(found, "a")["steps"] == [0]


def test_a_very_long_file_is_sampled_first_and_read_whole_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "SAMPLED_ABOVE", 1000)
    monkeypatch.setattr(columns, "SAMPLES", 40)
    started: list[Any] = []
    monkeypatch.setattr(columns.threading.Thread, "start", lambda thread: started.append(thread))
    found = written(tmp_path / "metrics.jsonl", [{"step": s, "a": s} for s in range(2000)])
    assert not found.exact
    first = everything(found, "a")
    assert 40 <= first["total"] < 400
    assert first["steps"][0] == 0
    assert first["steps"][-1] == 1999
    (behind,) = started
    behind.run()
    assert found.exact
    assert everything(found, "a", 5000)["total"] == 2000


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\n\n{]", b'{"step": 1e400}\n', b'{"step": 1, "a": 1e999, "b": "x"}\n']
)
def test_a_damaged_file_is_no_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    found = Columns(path)
    found.refresh()
    assert all(value is None for name in found.names for value in everything(found, name)["values"])


def test_huge_numbers_are_no_error(tmp_path: Path) -> None:
    found = written(tmp_path / "metrics.jsonl", [{"step": 10**30, "a": 10**400}, {"step": 1, "a": True}])
    assert everything(found, "a")["values"] == [None]
