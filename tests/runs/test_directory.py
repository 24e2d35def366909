"""The run directory: one writer, no step twice, nothing half written."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.runs.directory import Writer, append_record


@pytest.fixture
def run(tmp_path: Path) -> Writer:
    made = Writer.create(tmp_path / "run", "name: run\n", {"seed": 0})
    made.close()
    return made


def lines(path: Path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(row.pop("schema") == 1 for row in rows)
    return rows


def test_create_writes_the_configuration_and_where_the_run_comes_from(run: Writer) -> None:
    assert (run.path / "config.yaml").read_text() == "name: run\n"
    assert json.loads((run.path / "provenance.json").read_text()) == {"seed": 0}
    assert run.samples.is_dir()
    assert run.checkpoints.is_dir()


def test_an_existing_run_is_refused_naming_both_ways_out(run: Writer) -> None:
    (run.checkpoints / "step-00000001").mkdir()
    with pytest.raises(UserError, match=r"--resume.*--out") as caught:
        Writer.create(run.path, "name: other\n", {})
    assert str(run.path) in str(caught.value)
    assert (run.path / "config.yaml").read_text() == "name: run\n"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match=r"is a file.*--out"):
        Writer.create(tmp_path / "run", "", {})
    with pytest.raises(UserError, match="cannot be created"):
        Writer.create(tmp_path / "run" / "below", "", {})
    assert (tmp_path / "run").read_text() == "mine"


def test_the_second_writer_is_refused_until_the_first_is_done(run: Writer) -> None:
    first, second = Writer(run.path), Writer(run.path)
    first.lock()
    with pytest.raises(UserError, match="another process"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_what_came_after_the_checkpoint_is_forgotten(run: Writer) -> None:
    for step in range(1, 6):
        run.append("metrics.jsonl", {"step": step})
        (run.samples / f"step-{step:08d}.png").write_bytes(b"")
    run.append("scores.jsonl", {"step": 4})
    run.forget_after(3)
    assert lines(run.path / "metrics.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert lines(run.path / "scores.jsonl") == []
    assert [grid.stem for grid in sorted(run.samples.iterdir())] == [f"step-{step:08d}" for step in (1, 2, 3)]


@pytest.mark.parametrize("cut", [b'{"step": 3, "D/adv', b"\0\0\0\0", b"\xff\xfe", b'{"step": 3}'], ids=repr)
def test_a_last_line_cut_short_is_kept_aside_and_the_next_starts_afresh(run: Writer, cut: bytes) -> None:
    with (run.path / "metrics.jsonl").open("wb") as file:
        file.write(b'{"step": 1}\n{"step": 2}\n' + cut)
    run.tidy()
    run.append("metrics.jsonl", {"step": 4})
    whole = cut[-1:] == b"}"
    assert [row["step"] for row in run.records("metrics.jsonl")] == [1, 2, *([3] if whole else []), 4]
    aside = run.path / "metrics.jsonl.damaged"
    assert (aside.read_bytes() if aside.exists() else b"") == (b"" if whole else cut + b"\n")


def test_a_torn_last_line_never_swallows_the_next_record(run: Writer) -> None:
    path = run.path / "scores.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "FD')
    run.append("scores.jsonl", {"step": 3})
    assert [row["step"] for row in run.records("scores.jsonl")] == [1, 3]


def test_damaged_lines_are_kept_aside_once_and_said_once(run: Writer) -> None:
    path = run.path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\nnonsense\n{"step": 2}\n[1]\n')
    with pytest.warns(UserWarning, match=r"2 damaged lines moved to metrics\.jsonl\.damaged"):
        run.tidy()
    run.tidy()
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    assert (run.path / "metrics.jsonl.damaged").read_bytes() == b"nonsense\n[1]\n"


def test_records_of_a_later_version_are_not_touched(run: Writer) -> None:
    (run.path / "metrics.jsonl").write_text('{"schema": 2, "step": 1}\nnonsense\n')
    with pytest.raises(UserError, match="later version"):
        run.tidy()
    assert (run.path / "metrics.jsonl").read_text() == '{"schema": 2, "step": 1}\nnonsense\n'


def test_records_of_version_0_1_0_have_no_schema_and_are_read(run: Writer) -> None:
    (run.path / "scores.jsonl").write_text('{"step": 1}\n')
    run.append("scores.jsonl", {"step": 2})
    assert run.records("scores.jsonl") == [{"step": 1}, {"step": 2}]


def test_an_evaluation_during_a_rollback_loses_no_line(run: Writer) -> None:
    """Two processes' worth of writers on one file: one appends scores while the other rewrites it."""
    for step in range(1, 4):
        run.append("scores.jsonl", {"step": step})
    appended = 40

    def evaluate() -> None:
        for index in range(appended):
            append_record(run.path, "scores.jsonl", {"step": 1, "number": index})

    thread = threading.Thread(target=evaluate)
    thread.start()
    while thread.is_alive():
        run.append("scores.jsonl", {"step": 9})
        run.forget_after(3)
    thread.join()
    rows = run.records("scores.jsonl")
    assert [row["number"] for row in rows if "number" in row] == list(range(appended))
    assert [row["step"] for row in rows if "number" not in row] == [1, 2, 3]


def test_an_append_does_not_wait_for_the_trainers_lock(run: Writer) -> None:
    run.lock()
    append_record(run.path, "scores.jsonl", {"step": 1})
    run.close()
    assert run.records("scores.jsonl") == [{"step": 1}]


def test_a_file_system_without_locks_says_so(run: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(UserError, match=r"no locks on this file system \(No locks available\)"):
        run.lock()


def test_a_run_stopped_before_its_first_checkpoint_starts_again_with_the_same_settings(run: Writer) -> None:
    run.append("metrics.jsonl", {"step": 50})
    again = Writer.create(run.path, "name: run\n", {"seed": 0})
    again.close()
    assert again.records("metrics.jsonl") == []
    with pytest.raises(UserError, match=r"other settings.*--resume.*--out"):
        Writer.create(run.path, "name: other\n", {})
    again.lock()
    with pytest.raises(UserError, match="another process"):
        Writer.create(run.path, "name: run\n", {"seed": 0})
    again.close()


def test_a_picture_somebody_put_beside_the_samples_stays(run: Writer) -> None:
    mine = run.samples / "step-00000009 (copy).png"
    mine.write_bytes(b"mine")
    run.forget_after(1)
    assert mine.read_bytes() == b"mine"


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(run: Writer) -> None:
    left = run.checkpoints / ".step-00000004-x1y2"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    (run.samples / ".step-00000004-x1y2.png").write_bytes(b"half")
    (run.path / ".metrics-x1y2.jsonl").write_bytes(b"half")
    before = {
        run.path / name
        for name in ("config.yaml", "provenance.json", ".lock", ".append.lock", "samples", "checkpoints")
    }
    run.tidy()
    assert set(run.path.rglob("*")) == before


def test_a_full_disk_is_reported_with_the_file(run: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: No space left"):
        run.append("metrics.jsonl", {"step": 1})
    with pytest.raises(UserError, match=r"config\.yaml: cannot be written: No space left.*unchanged"):
        run.write_config("name: changed\n")
    assert (run.path / "config.yaml").read_text() == "name: run\n"
