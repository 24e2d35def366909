"""The run directory: the contract between training, studio and people."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steadygan.errors import UserError, command_line
from steadygan.files import check_folder, lock, make_folder, read_json, write_text, write_whole
from steadygan.runs.checkpoint import (
    MANIFEST,
    Checkpointed,
    best_checkpoint,
    checkpoint_step,
    checkpoints,
    mark_best,
    remove_checkpoint,
    save_checkpoint,
)
from steadygan.runs.following import SCHEMA as RECORD_SCHEMA
from steadygan.runs.following import Follower, Row, record, schema_of, write_record

if TYPE_CHECKING:
    from filelock import FileLock

RECORDS = ("metrics.jsonl", "scores.jsonl")
APPEND_SECONDS = 60
"""How long an append waits for another process's append, which takes milliseconds."""


class RunDirectory:
    """Read access to `config.yaml provenance.json status.json metrics.jsonl scores.jsonl samples/ checkpoints/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def records(self, name: str) -> list[Row]:
        """The records of `metrics.jsonl` or `scores.jsonl`, events included; a line truncated by a crash is skipped."""
        return Follower(self.path / name).read()

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint to resume from, if there is one."""
        return next(reversed(checkpoints(self.checkpoints)), None)

    def best(self) -> Path | None:
        return best_checkpoint(self.checkpoints)

    def close(self) -> None:
        """Releases its resources: a `Writer`'s lock."""


class Writer(RunDirectory):
    """Write access to the run directory, for the one process that trains in it.

    Opening it takes a lock that is released when the process ends; a second writer raises `UserError`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock: FileLock | None = None

    @classmethod
    def create(cls, path: Path, config_yaml: str, provenance: Mapping[str, Any]) -> Writer:
        """Creates and locks a run directory.

        A run with the same configuration that was stopped before its first checkpoint is restarted in place.

        Raises:
            UserError: another run exists there, or the directory cannot be created.
        """
        refuse_existing(path, config_yaml)
        make_folder(path, path)
        run = cls(path)
        run.lock()
        try:
            run.tidy()
            run.forget_after(0)
            run.make_folders()
            run.write_provenance(provenance)
            run.write_config(config_yaml)  # last: a directory counts as a run once it has a config.yaml
        except BaseException:
            run.close()
            raise
        return run

    def lock(self) -> None:
        """Makes this process the run's only writer.

        Raises:
            UserError: another process is training in the directory.
        """
        self._lock = lock(self.path / ".lock")
        if self._lock is None:
            raise UserError(
                f"{self.path}: another process is training in this directory; "
                f"`{command_line('stop', self.path)}` ends it, or choose another directory with --out"
            )

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def make_folders(self) -> None:
        """Creates the folders for samples and checkpoints if they were removed.

        Raises:
            UserError: they cannot be created.
        """
        for folder in (self.samples, self.checkpoints):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                raise UserError(f"{folder}: cannot be created: {error.strerror}") from error

    def write_config(self, config_yaml: str) -> None:
        """Writes the resolved configuration."""
        write_text(self.path / "config.yaml", config_yaml)

    def write_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Writes provenance.json."""
        write_text(self.path / "provenance.json", json.dumps(provenance, indent=2) + "\n")

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds one line to `metrics.jsonl` or `scores.jsonl`."""
        append_record(self.path, name, row)

    def tidy(self) -> None:
        """Removes incomplete files of a killed writer and completes its unfinished work."""
        for aside in sorted(self.checkpoints.glob(".step-*-old")):  # a best checkpoint that no longer exists
            target = self.checkpoints / re.sub(r"^\.(step-\d{8,})-.*", r"\1", aside.name)
            if not target.exists() and (aside / MANIFEST).is_file():
                aside.replace(target)
        for leftover in self.checkpoints.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        names = [".step-*.png", ".best-*", ".config-*.yaml", ".metrics-*.jsonl", ".scores-*.jsonl"]
        names += [".provenance-*.json", ".status-*.json", ".request-*.json"]
        for folder in (self.path, self.samples, self.checkpoints):
            for name in names:
                for leftover in folder.glob(name):
                    leftover.unlink(missing_ok=True)
        for name in RECORDS:
            self._set_damage_aside(name)
        self._settle_score()

    def _set_damage_aside(self, name: str) -> None:
        """Moves damaged lines to `NAME.damaged`, with a warning, except for a last line truncated by a crash."""
        path = self.path / name
        with _appending(self.path):
            data = path.read_bytes() if path.is_file() else b""
            if any(schema_of(line) > RECORD_SCHEMA for line in data.split(b"\n")):
                raise UserError(f"{path} was written by a later version of steadygan; resume with that one")
            *lines, last = data.split(b"\n")
            damaged = [line for line in lines if line.strip() and record(line) is None]
            torn = [last] if last.strip() and record(last) is None else []
            if not damaged and not torn:
                return
            try:
                with path.with_name(f"{name}.damaged").open("ab") as file:
                    file.writelines(line + b"\n" for line in (*damaged, *torn))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise UserError(f"{path}.damaged: cannot be written: {error.strerror}") from error
            _rewrite(path, [line for line in (*lines, last) if record(line) is not None])
        if damaged:
            count = "a damaged line" if len(damaged) == 1 else f"{len(damaged)} damaged lines"
            warnings.warn(f"{path}: {count} moved to {name}.damaged", stacklevel=3)

    def _settle_score(self) -> None:
        """Completes the work of a writer killed after a scored checkpoint: updates `best`, records the score."""
        newest = self.newest_checkpoint()
        try:
            scored = {} if newest is None else read_json(newest / MANIFEST).get("scored") or {}
            row, best = dict(scored["record"]), scored["best"] is True
        except (UserError, KeyError, TypeError, ValueError):
            return
        assert newest is not None
        if best and self.best() != newest:
            self.mark_best(newest)
        recorded = {json.dumps(known, sort_keys=True) for known in self.records("scores.jsonl")}  # NaN equals NaN
        if row.get("step") == checkpoint_step(newest) and json.dumps(row, sort_keys=True) not in recorded:
            self.append("scores.jsonl", row)

    def forget_after(self, step: int) -> None:
        """Drops records and files from after `step`, so that a run resumed from there repeats no records."""
        for checkpoint in reversed(checkpoints(self.checkpoints)):
            if checkpoint_step(checkpoint) > step:
                remove_checkpoint(checkpoint)
        with _appending(self.path):
            for name in RECORDS:
                path = self.path / name
                lines = path.read_bytes().split(b"\n") if path.is_file() else []
                rows = [(line, record(line)) for line in lines]
                kept = [line for line, row in rows if line.strip() and (row is None or row["step"] <= step)]
                if len(kept) < sum(bool(line.strip()) for line in lines):
                    _rewrite(path, kept)
        for grid in self.samples.glob("step-*.png"):
            number = grid.stem.removeprefix("step-")
            if number.isdecimal() and int(number) > step:
                grid.unlink(missing_ok=True)

    def save(
        self,
        state: Checkpointed,
        generator: Mapping[str, Any],
        *,
        keep: int,
        record: Mapping[str, Any] | None = None,
        best: bool = False,
    ) -> Path:
        """Writes a checkpoint, marks it as the best if it is, deletes old ones and records its score, in this order.

        A kill at any moment loses nothing: the checkpoint holds its score, and `tidy` completes the rest.

        Args:
            state: the state to save.
            generator: describes the generator for `steadygan.load` (plain JSON values).
            keep: number of newest checkpoints to keep, besides the best.
            record: the score of these weights, for scores.jsonl.
            best: whether that is the best score so far.
        """
        path = save_checkpoint(state, self.checkpoints, generator, keep=keep, record=record, best=best)
        if record is not None:
            self.append("scores.jsonl", record)
        return path

    def mark_best(self, checkpoint: Path) -> None:
        """Protects a checkpoint from retention."""
        mark_best(checkpoint)


def refuse_existing(path: Path, config_yaml: str | None = None) -> None:
    """Raises `UserError` if the path of a new run holds a file or another run.

    config_yaml: the new run's configuration; a run of the same configuration without a checkpoint may be restarted.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path} is a file; choose another directory with --out")
    check_folder(path, path)
    if not (path / "config.yaml").exists():
        return
    if checkpoints(path / "checkpoints"):
        raise UserError(
            f"{path} already holds a run; continue it with `{command_line('train', path, '--resume')}`, "
            "or choose another directory with --out"
        )
    if config_yaml is not None and (path / "config.yaml").read_bytes() != config_yaml.encode():
        raise UserError(
            f"{path} holds a run of other settings that was stopped before its first checkpoint; start that one with "
            f"`{command_line('train', path, '--resume')}`, or choose another directory with --out"
        )


def append_record(run: Path, name: str, row: Mapping[str, Any]) -> None:
    """Adds one line to a run's `metrics.jsonl` or `scores.jsonl`; safe while other processes append or train.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with _appending(run), (run / name).open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read(1) not in (b"", b"\n")  # by a crash: must not swallow the next line
            file.write((b"\n" if torn else b"") + write_record(row))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{run / name}: cannot be written: {error.strerror}") from error


@contextmanager
def _appending(run: Path) -> Iterator[None]:
    """Context manager: excludes other processes for the duration of an append or rewrite."""
    held = lock(run / ".append.lock", seconds=APPEND_SECONDS)
    if held is None:
        raise UserError(f"{run}: another process keeps .append.lock for over {APPEND_SECONDS} s; is it suspended?")
    try:
        yield
    finally:
        held.release()


def _rewrite(path: Path, lines: list[bytes]) -> None:
    write_whole(path, lambda file: file.write_bytes(b"".join(line + b"\n" for line in lines)))
