"""Requests from other processes to a training run: one small file, read at step boundaries."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from steadygan.errors import UserError, no_run
from steadygan.files import write_text

Request = Literal["stop", "pause", "resume"]

FILE = "request.json"
_TAKEN = ".request-taken.json"
BEGAN = time.time()
"""Approximate start time of this process."""


def ask(run: Path, request: Request) -> None:
    """Writes a request to the process that trains in `run`; replaces a pending one.

    Args:
        run: the run directory.
        request: stop (write a checkpoint and exit), pause or resume.

    Raises:
        UserError: there is no run, or the request is unknown.
    """
    if request not in get_args(Request):
        raise UserError(f"a run can be asked to {', '.join(get_args(Request))}, not {request!r}")
    if not (run / "config.yaml").is_file():
        raise UserError(no_run(run))
    text = json.dumps({"schema": 1, "do": request, "asked": round(time.time(), 3)}) + "\n"
    write_text(run / FILE, text)


def asked(run: Path) -> Request | None:
    """The pending request, if any; does not remove it."""
    return _read(run / FILE)


def take(run: Path, *, since: float = 0.0) -> Request | None:
    """Reads and removes the request. Ignores one that is unreadable or was written before `since`.

    For the process that trains in `run`. Without a request it costs one directory lookup.
    """
    taken = run / _TAKEN
    try:
        (run / FILE).replace(taken)
    except OSError:
        return None
    request = _read(taken, since)
    taken.unlink(missing_ok=True)
    return request


def _read(path: Path, since: float = 0.0) -> Request | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        request, when = found["do"], float(found["asked"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return request if request in get_args(Request) and when >= since else None


class Attention:
    """Handles requests to one run made since this process started.

    A loop calls `called` at every step boundary, which checks the directory at most every `interval` seconds; if it
    returns True, the loop calls `stops`.
    """

    def __init__(self, run: Path, *, interval: float = 0.5, since: float = BEGAN) -> None:
        self.run, self.interval, self.since = run, interval, since
        self._next = 0.0

    def called(self) -> bool:
        """Whether there is a pending request."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.interval
        return (self.run / FILE).exists()

    def stops(self, interrupted: object = False, on_pause: Callable[[bool], None] | None = None) -> bool:
        """Handles the request; returns whether to stop. A pause blocks here, checking every `interval` seconds.

        Args:
            interrupted: also ends a pause once true, e.g. after a signal.
            on_pause: called with True at every check during a pause, for the run's sign of life, and with False at its
                end.
        """
        request = take(self.run, since=self.since)
        if request != "pause":
            return request == "stop"
        while request not in ("resume", "stop") and not interrupted:
            if on_pause is not None:
                on_pause(True)
            time.sleep(self.interval)
            request = take(self.run, since=self.since)
        if on_pause is not None:
            on_pause(False)
        return request == "stop"
