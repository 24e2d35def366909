"""Requests to a run from outside: one small file, which its loop takes at a step boundary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from steadygan.errors import UserError
from steadygan.files import write_text

Wish = Literal["stop", "pause", "resume"]

FILE = "request.json"
_TAKEN = ".request-taken.json"
BEGAN = time.time()
"""When this process began, or near enough."""


def ask(run: Path, wish: Wish) -> None:
    """Leaves a wish for the loop that trains in `run`; one that was not taken yet is replaced.

    stop: write a checkpoint and end; pause: wait; resume: end the pause.
    Raises `UserError` where there is no run, or for an unknown wish.
    """
    if wish not in get_args(Wish):
        raise UserError(f"a run can be asked to {', '.join(get_args(Wish))}, not {wish!r}")
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run directory: it has no config.yaml")
    text = json.dumps({"schema": 1, "do": wish, "asked": round(time.time(), 3)}) + "\n"
    write_text(run / FILE, text)


def asked(run: Path) -> Wish | None:
    """The wish that nobody has taken yet, which stays where it is."""
    return _read(run / FILE)


def take(run: Path, *, since: float = 0.0) -> Wish | None:
    """The wish, which is gone with that; one that cannot be read, or was asked before `since`, counts as none.

    For the process that trains in `run`. Without a wish it costs one look into the directory.
    """
    taken = run / _TAKEN
    try:
        (run / FILE).replace(taken)
    except OSError:
        return None
    wish = _read(taken, since)
    taken.unlink(missing_ok=True)
    return wish


def _read(path: Path, since: float = 0.0) -> Wish | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        wish, when = found["do"], float(found["asked"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return wish if wish in get_args(Wish) and when >= since else None


class Attention:
    """Answers the requests to one run: those made since this process started, not older ones.

    A loop asks `called` at every step boundary, which looks into the directory at most every `interval` seconds, and
    when it says so calls `stops`.
    """

    def __init__(self, run: Path, *, interval: float = 0.5, since: float = BEGAN) -> None:
        self.run, self.interval, self.since = run, interval, since
        self._next = 0.0

    def called(self) -> bool:
        """Whether there is a wish to take."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.interval
        return (self.run / FILE).exists()

    def stops(self, interrupted: object = False, on_pause: Callable[[bool], None] | None = None) -> bool:
        """Takes the wish: whether it is to stop. A pause is waited out inside, in turns of `interval`.

        interrupted: what ends a pause, too, once it is true (a signal, say). on_pause: called with True every turn of a
        pause, so that the run can show that it is alive, and with False at its end.
        """
        wish = take(self.run, since=self.since)
        if wish != "pause":
            return wish == "stop"
        while wish not in ("resume", "stop") and not interrupted:
            if on_pause is not None:
                on_pause(True)
            time.sleep(self.interval)
            wish = take(self.run, since=self.since)
        if on_pause is not None:
            on_pause(False)
        return wish == "stop"
