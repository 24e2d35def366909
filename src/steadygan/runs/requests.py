"""Requests to a run from outside: one small file, which its loop takes at a step boundary."""

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
"""When this process began, or near enough."""


def ask(run: Path, request: Request) -> None:
    """Writes a request for the loop that trains in `run`; one that was not taken yet is replaced.

    Args:
        run: the run directory.
        request: stop (write a checkpoint and end), pause (wait) or resume (end the pause).

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
    """The request that was not taken yet; it stays where it is."""
    return _read(run / FILE)


def take(run: Path, *, since: float = 0.0) -> Request | None:
    """Reads the request and removes it; one that cannot be read, or was written before `since`, counts as none.

    For the process that trains in `run`. Without a request it costs one look into the directory.
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
    """Answers the requests to one run: those made since this process started, not older ones.

    A loop asks `called` at every step boundary, which looks into the directory at most every `interval` seconds, and
    when it says so calls `stops`.
    """

    def __init__(self, run: Path, *, interval: float = 0.5, since: float = BEGAN) -> None:
        self.run, self.interval, self.since = run, interval, since
        self._next = 0.0

    def called(self) -> bool:
        """Whether there is a request to take."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.interval
        return (self.run / FILE).exists()

    def stops(self, interrupted: object = False, on_pause: Callable[[bool], None] | None = None) -> bool:
        """Takes the request, and says whether it is to stop. A pause is waited out inside, in turns of `interval`.

        interrupted: what ends a pause, too, once it is true (a signal, say). on_pause: called with True every turn of a
        pause, so that the run can show that it is alive, and with False at its end.
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
