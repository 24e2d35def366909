"""The state of a run, kept in one small file by the training process."""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

from steadygan.errors import UserError
from steadygan.files import read_json, write_text

State = Literal["starting", "running", "paused", "finished", "stopped", "collapsed", "failed"]

ENDED: tuple[State, ...] = ("finished", "stopped", "collapsed")
"""States of a run that ended regularly: it needs no restart."""

FILE = "status.json"
SCHEMA = 1
BEAT_SECONDS = 5.0
"""Minimum seconds between two heartbeats."""
LONGEST_MESSAGE = 4000


class Status:
    """Writes `status.json` of a run, in the process that trains in it.

    If the file cannot be written, training continues after one warning.
    """

    def __init__(self, run: Path, steps: int, step: int = 0) -> None:
        """steps: number of steps of the run; step: number of steps done."""
        self.path, self.steps, self.step = run / FILE, steps, step
        self.started = round(time.time(), 3)
        self.state: State = "starting"
        self._next = 0.0
        self._warned = False

    def beat(self, step: int, state: State = "running") -> None:
        """Writes a heartbeat at a step boundary: at once for a new state, else at most every `BEAT_SECONDS`."""
        self.step = step
        if state != self.state or time.monotonic() >= self._next:
            self.say(state)

    def say(self, state: State, message: str = "") -> None:
        """Writes a state. message: the reason, shown to users."""
        self.state, self._next = state, time.monotonic() + BEAT_SECONDS
        content = {
            "schema": SCHEMA,
            "state": state,
            "message": message[:LONGEST_MESSAGE],
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "step": self.step,
            "steps": self.steps,
            "started": self.started,
            "heartbeat": round(time.time(), 3),
        }
        try:
            write_text(self.path, json.dumps(content) + "\n", durable=False)
        except UserError as error:
            if not self._warned:
                warnings.warn(f"{error}; training continues", stacklevel=2)
            self._warned = True


def read_status(run: Path) -> dict[str, Any] | None:
    """The last state that a run wrote; None if there is none or it is unreadable."""
    try:
        found = read_json(run / FILE)
    except UserError:
        return None
    return found if found.get("state") in get_args(State) else None


def is_finished(run: Path) -> bool:
    """Whether a run directory holds a run that reached its end; False if there is none."""
    return (read_status(run) or {}).get("state") == "finished"
