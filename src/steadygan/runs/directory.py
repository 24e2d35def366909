"""The run directory: the contract between training, studio and people."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

from steadygan.errors import UserError
from steadygan.files import write_whole
from steadygan.runs.checkpoint import best_checkpoint, checkpoint_step, checkpoints


class RunDirectory:
    """`config.yaml provenance.json metrics.jsonl scores.jsonl samples/ checkpoints/`, written by one process.

    Opening it takes a lock that ends with the process; a second writer gets a `UserError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Raises `UserError` when there is a run, or a file, where a new run is to be."""
        if (path / "config.yaml").exists():
            raise UserError(
                f"{path} already holds a run; continue it with `steadygan train {path} --resume`, "
                "or choose another directory with --out"
            )
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; choose another directory with --out")

    @classmethod
    def create(cls, path: Path, config_yaml: str, provenance: Mapping[str, Any]) -> RunDirectory:
        """A new run directory; refuses one that already holds a run."""
        cls.refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be made: {error.strerror}") from error
        run = cls(path)
        run.lock()
        run.samples.mkdir(exist_ok=True)
        run.checkpoints.mkdir(exist_ok=True)
        write_whole(path / "provenance.json", partial(_write_text, json.dumps(provenance, indent=2) + "\n"))
        run.write_config(config_yaml)
        return run

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def lock(self) -> None:
        """Makes this process the run's only writer."""
        try:
            self._lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise UserError(f"{self.path}: another process is training in this directory") from error

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            self._lock.close()

    def write_config(self, config_yaml: str) -> None:
        """Writes the resolved configuration."""
        write_whole(self.path / "config.yaml", partial(_write_text, config_yaml))

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Adds one line to `metrics.jsonl` or `scores.jsonl`."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path / name}: cannot be written: {error.strerror}") from error

    def records(self, name: str) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl` or `scores.jsonl`, but for those cut short by a crash."""
        path = self.path / name
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines if _step(line) < float("inf")]

    def tidy(self) -> None:
        """Removes what a killed writer left half written; for the one who holds the lock."""
        for leftover in self.checkpoints.glob(".step-*"):
            shutil.rmtree(leftover)
        for folder in (self.path, self.samples, self.checkpoints):
            for name in (".step-*.png", ".best-*", ".config-*.yaml", ".metrics-*.jsonl", ".scores-*.jsonl"):
                for leftover in folder.glob(name):
                    leftover.unlink()

    def forget_after(self, step: int) -> None:
        """Drops what was recorded or saved after `step`, so that a run that goes on from there has no step twice."""
        for checkpoint in checkpoints(self.checkpoints):
            if checkpoint_step(checkpoint) > step:
                shutil.rmtree(checkpoint)
        for name in ("metrics.jsonl", "scores.jsonl"):
            path = self.path / name
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                text = "".join(f"{line}\n" for line in lines if _step(line) <= step)
                write_whole(path, partial(_write_text, text))
        for grid in self.samples.glob("step-*.png"):
            number = grid.stem.removeprefix("step-")
            if number.isdecimal() and int(number) > step:
                grid.unlink()

    def newest_checkpoint(self) -> Path:
        """The checkpoint to resume from."""
        found = checkpoints(self.checkpoints)
        if not found:
            raise UserError(f"{self.path} has no checkpoint yet; remove it, or start again with another --out")
        return found[-1]

    def mark_best(self, checkpoint: Path) -> None:
        """Protects a checkpoint from being removed as newer ones come."""
        write_whole(self.checkpoints / "best", partial(_write_text, checkpoint.name + "\n"))

    def best(self) -> Path | None:
        return best_checkpoint(self.checkpoints)


class Onlooker(RunDirectory):
    """The run directory for the processes of a run that do not write in it."""

    @classmethod
    def create(cls, path: Path, config_yaml: str, provenance: Mapping[str, Any]) -> Onlooker:
        return cls(path)

    def lock(self) -> None:
        pass

    def write_config(self, config_yaml: str) -> None:
        pass

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        pass

    def tidy(self) -> None:
        pass

    def forget_after(self, step: int) -> None:
        pass

    def mark_best(self, checkpoint: Path) -> None:
        pass


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _step(line: str) -> float:
    """The step of a record; a line cut short by a crash counts as after everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
