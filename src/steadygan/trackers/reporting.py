"""Reporting while a run trains: a thread for each tracker, which disturbs nothing."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steadygan.errors import command_line
from steadygan.trackers.clients import open_by_name
from steadygan.trackers.reporter import Reporter

EVERY = 5.0
"""Seconds from one look at the records to the next."""
PATIENCE = 60.0
"""Seconds that the end of a run waits for a tracker to take the rest."""
LONGEST = 300


@contextmanager
def reporting(run: Path, names: Sequence[str], step: int, *, every: float = EVERY) -> Iterator[None]:
    """Within, what is recorded in a run is sent to these trackers.

    A tracker that fails gets nothing more, and a warning says so; `steadygan report` can send the rest later.

    Args:
        run: the run directory.
        names: of trackers, which `clients.check` has seen.
        step: the one the run starts from.
        every: seconds from one look to the next.
    """
    ending = threading.Event()
    threads = []
    for name in names:
        arguments = (run, name, step, ending, every)
        threads.append(threading.Thread(target=_follow, args=arguments, daemon=True, name=f"tracker {name}"))
        threads[-1].start()
    try:
        yield
    finally:
        ending.set()
        for name, thread in zip(names, threads, strict=True):
            thread.join(PATIENCE)
            if thread.is_alive():
                _say(f"{name} has not taken the rest within {PATIENCE:g} s; {_later(run, name)}")


def _follow(run: Path, name: str, step: int, ending: threading.Event, every: float) -> None:
    """Sends new records until the run ends, and once more."""
    try:
        reporter = Reporter(run, name, open_by_name(name))
        try:
            reporter.rewind(step)
            ended = False
            while not ended:
                ended = ending.wait(every)
                reporter.send()
        finally:
            reporter.close()
    except Exception as error:  # whatever a tracker's library raises: the run comes first
        said = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {said[0] if said else 'no more is known'}"[:LONGEST]
        _say(f"{name} is no longer reported to ({reason}); training continues; {_later(run, name)}")


def _later(run: Path, name: str) -> str:
    return f"`{command_line('report', run, '--to', name)}` sends what is missing"


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=3)
