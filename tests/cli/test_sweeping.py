"""A sweep trains the runs of a table, resumes stopped ones, and compares at the end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers import Run, command, tiny_run

from steadygan import config as configuration
from steadygan.cli import sweeping
from steadygan.cli.sweeping import Job, choose, plan
from steadygan.errors import UserError


class Stand:
    """Stands in for a process; the command ran in this one."""

    def __init__(self, status: int) -> None:
        self.status = status

    def poll(self) -> int:
        return self.status

    def wait(self) -> int:
        return self.status

    def send_signal(self, number: int) -> None:
        raise AssertionError("it has ended")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that a sweep starts, run in this process."""
    commands: list[list[str]] = []

    def launch(job: Job) -> Any:
        commands.append(job.arguments())
        return Stand(command(*commands[-1]))

    monkeypatch.setattr(sweeping, "launch", launch)
    return commands


def pretend(path: Path, state: str) -> None:
    """A run directory with this progress."""
    (path / "checkpoints" / "step-00000001").mkdir(parents=True)
    (path / "checkpoints" / "step-00000001" / "manifest.json").write_text("{}")
    (path / "config.yaml").write_text("name: x\n")
    (path / "status.json").write_text(json.dumps({"schema": 1, "state": state}))


def test_presets_are_chosen_by_name_and_by_the_words_of_a_table() -> None:
    assert choose("digits-cr, digits-none") == ["digits-cr", "digits-none"]
    assert choose("Table 1, CIFAR-10 (DCGAN)") == [
        f"cifar10-dcgan-{method}" for method in ("cr", "dragan", "gp", "icr", "jsreg", "none")
    ]
    with pytest.raises(UserError, match="no preset has 'Table 99'"):
        choose("Table 99")


def test_a_table_of_several_papers_is_asked_for_by_paper() -> None:
    with pytest.raises(UserError, match="is in several papers; say which:\n  steadygan sweep '") as caught:
        choose("FFHQ")
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert len(lines) > 1
    for line in lines:
        again = choose(shlex.split(line)[2])
        assert again
        assert {configuration.preset_about(name).paper for name in again} == {shlex.split(line)[2].rpartition(", ")[0]}


def test_every_experiment_comes_once_before_any_comes_twice(tmp_path: Path) -> None:
    queue = plan(["digits-cr", "digits-none"], ["train.steps=3"], 2, tmp_path)
    assert [job.name for job in queue] == [
        "digits-cr-seed0",
        "digits-none-seed0",
        "digits-cr-seed1",
        "digits-none-seed1",
    ]
    assert queue[2].overrides == ("train.steps=3", "train.seed=1")


def test_a_run_is_started_resumed_or_left_by_what_its_directory_says(tmp_path: Path) -> None:
    fresh, stopped, done = (Job(name, "digits", ("train.seed=0",), tmp_path / name) for name in ("a", "b", "c"))
    pretend(stopped.path, "stopped")
    pretend(done.path, "finished")
    assert [job.state() for job in (fresh, stopped, done)] == ["new", "begun", "finished"]
    assert fresh.arguments() == ["train", "digits", "train.seed=0", "--out", str(fresh.path)]
    assert stopped.arguments() == ["train", str(stopped.path), "--resume"]


def test_a_sweep_trains_compares_and_has_nothing_left_to_do(
    steadygan: Run, tmp_path: Path, started: list[list[str]]
) -> None:
    arguments = ["sweep", "digits-none", *tiny_run("train.steps=1", "eval.num_fake=8"), "--seeds", "2", "--out", "s"]

    assert steadygan(*arguments, "--dry-run").out.split() == ["new", "digits-none-seed0", "new", "digits-none-seed1"]
    first = steadygan(*arguments)

    assert first.status == 0
    assert [entry[-1] for entry in started] == ["s/digits-none-seed0", "s/digits-none-seed1"]
    table = (tmp_path / "s" / "compare.csv").read_text().splitlines()
    assert table[0].startswith("run,seeds,")
    assert table[1].startswith("digits-none,2,")

    assert steadygan(*arguments).status == 0
    assert len(started) == 2


def test_a_failed_run_stops_no_other_and_is_named(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []

    def launch(job: Job) -> Any:
        launched.append(job.name)
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / f"{job.name}.log").write_text(f"error: {job.name} has no luck\n")
        return Stand(2)

    monkeypatch.setattr(sweeping, "launch", launch)
    result = steadygan("sweep", "digits-cr,digits-none", "--out", "s")
    assert (result.status, launched) == (2, ["digits-cr-seed0", "digits-none-seed0"])
    assert "digits-cr-seed0: error: digits-cr-seed0 has no luck" in result.out
    assert "2 of 2 runs failed" in result.err


def test_a_run_that_another_process_trains_is_left_to_it(
    steadygan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(job: Job) -> Any:
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s" / f"{job.name}.log").write_text("error: another process is training in this directory\n")
        return Stand(2)

    monkeypatch.setattr(sweeping, "launch", launch)
    result = steadygan("sweep", "digits-cr", "--out", "s")
    assert result.status == 0
    assert "1 runs are trained by another process" in result.out


def test_seeds_are_the_sweeps_to_give(steadygan: Run) -> None:
    result = steadygan("sweep", "digits-cr", "train.seed=3")
    assert result.status == 2
    assert "set their number with --seeds" in result.err
