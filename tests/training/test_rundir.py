"""The run directory: one writer, no step twice, nothing half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steadygan.errors import UserError
from steadygan.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create(tmp_path / "run", "name: run\n", {"seed": 0})
    made.close()
    return made


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_create_writes_the_configuration_and_where_the_run_comes_from(run: RunDirectory) -> None:
    assert (run.path / "config.yaml").read_text() == "name: run\n"
    assert json.loads((run.path / "provenance.json").read_text()) == {"seed": 0}
    assert run.samples.is_dir()
    assert run.checkpoints.is_dir()


def test_an_existing_run_is_refused_naming_both_ways_out(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"--resume.*--out") as caught:
        RunDirectory.create(run.path, "name: other\n", {})
    assert str(run.path) in str(caught.value)
    assert (run.path / "config.yaml").read_text() == "name: run\n"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match=r"is a file.*--out"):
        RunDirectory.create(tmp_path / "run", "", {})
    with pytest.raises(UserError, match="cannot be made"):
        RunDirectory.create(tmp_path / "run" / "below", "", {})
    assert (tmp_path / "run").read_text() == "mine"


def test_the_second_writer_is_refused_until_the_first_is_done(run: RunDirectory) -> None:
    first, second = RunDirectory(run.path), RunDirectory(run.path)
    first.lock()
    with pytest.raises(UserError, match="another process"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_what_came_after_the_checkpoint_is_forgotten(run: RunDirectory) -> None:
    for step in range(1, 6):
        run.append("metrics.jsonl", {"step": step})
        (run.samples / f"step-{step:08d}.png").write_bytes(b"")
    run.append("scores.jsonl", {"step": 4})
    run.forget_after(3)
    assert lines(run.path / "metrics.jsonl") == [{"step": 1}, {"step": 2}, {"step": 3}]
    assert lines(run.path / "scores.jsonl") == []
    assert [grid.stem for grid in sorted(run.samples.iterdir())] == [f"step-{step:08d}" for step in (1, 2, 3)]


@pytest.mark.parametrize("cut", [b'{"step": 3, "D/adv', b"\0\0\0\0", b"\xff\xfe", b'{"step": 3}'], ids=repr)
def test_a_last_line_cut_short_is_tolerated_and_the_next_starts_afresh(run: RunDirectory, cut: bytes) -> None:
    with (run.path / "metrics.jsonl").open("wb") as file:
        file.write(b'{"step": 1}\n{"step": 2}\n' + cut)
    run.forget_after(3)
    run.append("metrics.jsonl", {"step": 4})
    assert [line["step"] for line in lines(run.path / "metrics.jsonl")] == [1, 2, *([3] if cut[-1:] == b"}" else []), 4]


def test_a_picture_somebody_put_beside_the_samples_stays(run: RunDirectory) -> None:
    mine = run.samples / "step-00000009 (copy).png"
    mine.write_bytes(b"mine")
    run.forget_after(1)
    assert mine.read_bytes() == b"mine"


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(run: RunDirectory) -> None:
    left = run.checkpoints / ".step-00000004-x1y2"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    (run.samples / ".step-00000004-x1y2.png").write_bytes(b"half")
    (run.path / ".metrics-x1y2.jsonl").write_bytes(b"half")
    before = {run.path / name for name in ("config.yaml", "provenance.json", ".lock", "samples", "checkpoints")}
    run.tidy()
    assert set(run.path.rglob("*")) == before


def test_a_run_without_a_checkpoint_cannot_be_resumed(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"no checkpoint yet.*--out"):
        run.newest_checkpoint()


def test_a_full_disk_is_reported_with_the_file(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: No space left"):
        run.append("metrics.jsonl", {"step": 1})
    with pytest.raises(UserError, match=r"config\.yaml: cannot be written: No space left.*untouched"):
        run.write_config("name: changed\n")
    assert (run.path / "config.yaml").read_text() == "name: run\n"
