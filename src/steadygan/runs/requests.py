"""What a run is asked from outside: one small file, which its loop takes at a step boundary."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from steadygan.errors import UserError
from steadygan.files import write_whole

Wish = Literal["stop", "pause", "resume"]

FILE = "request.json"
_TAKEN = ".request-taken.json"


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
    write_whole(run / FILE, partial(Path.write_text, data=text, encoding="utf-8"))


def asked(run: Path) -> Wish | None:
    """The wish that nobody has taken yet, which stays where it is."""
    return _read(run / FILE)


def take(run: Path) -> Wish | None:
    """The wish, which is gone with that; one that cannot be read counts as none.

    For the process that trains in `run`. Without a wish it costs one look into the directory.
    """
    taken = run / _TAKEN
    try:
        (run / FILE).replace(taken)
    except OSError:
        return None
    wish = _read(taken)
    taken.unlink(missing_ok=True)
    return wish


def _read(path: Path) -> Wish | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    wish = found.get("do") if isinstance(found, dict) else None
    return wish if wish in get_args(Wish) else None


class Attention:
    """Heeds the wishes for one run, looking for them at most every `interval` seconds.

    A loop calls `stops` at every step boundary: True once the run was asked to stop. A pause is waited out inside, in
    turns of `interval`; `interrupted` (a signal, say) ends it, too. on_pause: called with True as a pause begins and
    with False as it ends, and in between with True every turn, so that the run can show that it is alive.
    """

    def __init__(self, run: Path, interval: float = 0.5) -> None:
        self.run, self.interval = run, interval
        self._next = 0.0

    def stops(self, interrupted: object = False, on_pause: Callable[[bool], None] | None = None) -> bool:
        """Whether the run was asked to stop."""
        if time.monotonic() < self._next:
            return False
        wish = take(self.run)
        paused = wish == "pause"
        while paused and not interrupted:
            if on_pause is not None:
                on_pause(True)
            time.sleep(self.interval)
            wish = take(self.run)
            paused = wish not in ("resume", "stop")
            if not paused and on_pause is not None:
                on_pause(False)
        self._next = time.monotonic() + self.interval
        return wish == "stop"
