"""Trainings started by the studio: separate processes that outlive it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steadygan.errors import UserError, command_line
from steadygan.studio.catalogue import id_of

LOG = "studio.log"
TAIL = 4000
FORECAST_SECONDS = 180


@dataclass
class Job:
    """One process, with its command and output."""

    run: Path
    command: list[str]
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.time)

    def told(self) -> dict[str, Any]:
        """id of the run, once it exists; state: running, or ended with its exit status; the end of its output."""
        status = self.process.poll()
        return {
            "id": id_of(self.run),
            "run": self.run.name,
            "command": command_line(*self.command),
            "state": "running" if status is None else "ended",
            "status": status,
            "began": self.began,
            "log": tail(self.run / LOG),
        }


class Jobs:
    """The newest fifty jobs."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._lock = threading.Lock()

    def start(self, command: list[str], run: Path) -> Job:
        """Starts `steadygan COMMAND` with its output in the run's directory."""
        run.mkdir(parents=True, exist_ok=True)
        with open(run / LOG, "ab", opener=_no_link) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "steadygan", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1"},
                start_new_session=True,
            )
        threading.Thread(target=process.wait, daemon=True).start()
        job = Job(run, command, process)
        with self._lock:
            self._jobs = [job, *self._jobs][:50]
        return job

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [job.told() for job in self._jobs]

    def busy(self, run: Path) -> bool:
        """Whether a process started here still trains in this directory."""
        with self._lock:
            return any(job.run == run and job.process.poll() is None for job in self._jobs)


def forecast(command: list[str]) -> list[list[str]]:
    """The output of `steadygan train … --dry-run`, as (subject, text)."""
    lines = _printed([*command, "--dry-run"])
    return [[first, rest.strip()] for first, _, rest in (line.partition(" ") for line in lines) if rest.strip()]


def chosen(command: list[str]) -> list[list[str]]:
    """The choices of `steadygan plan` for a `steadygan train`, as (subject, setting, reason)."""
    rows = [re.split(r" {2,}", line.strip(), maxsplit=2) for line in _printed(["plan", *command[1:]])]
    return [row for row in rows if len(row) > 1]


def _printed(command: list[str]) -> list[str]:
    """The output lines of a command that does not start a training."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "steadygan", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FORECAST_SECONDS,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"the forecast took longer than {FORECAST_SECONDS} s") from None
    if done.returncode:
        raise UserError(done.stderr.decode(errors="replace").strip().removeprefix("error: ")[-1500:])
    return done.stdout.decode(errors="replace").splitlines()


def _no_link(path: str, flags: int) -> int:
    """Opener that refuses links and pipes, as a run may be untrusted."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def tail(path: Path) -> str:
    """The end of a text file."""
    try:
        with open(path, "rb", opener=_no_link) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return file.read(TAIL).decode(errors="replace")
    except OSError:
        return ""
