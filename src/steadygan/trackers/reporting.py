"""Reports during training, in one thread per tracker."""

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
"""Seconds between checks for new records."""
PATIENCE = 60.0
"""Seconds to wait for a tracker at the end of a run."""
LONGEST = 300


@contextmanager
def reporting(run: Path, names: Sequence[str], step: int, *, every: float = EVERY) -> Iterator[None]:
    """Context manager: sends a run's records to these trackers.

    A tracker that fails is disabled with a warning; `steadygan report` can send the rest later.

    Args:
        run: the run directory.
        names: names of trackers, checked by `clients.check`.
        step: the run's first step.
        every: seconds between checks.
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
                _say(f"{name} did not accept the remaining records within {PATIENCE:g} s; {_later(run, name)}")


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
    except Exception as error:  # any exception of a tracker's library: training must continue
        said = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {said[0] if said else 'no more is known'}"[:LONGEST]
        _say(f"reporting to {name} stopped ({reason}); training continues; {_later(run, name)}")


def _later(run: Path, name: str) -> str:
    return f"`{command_line('report', run, '--to', name)}` sends what is missing"


def _say(text: str) -> None:
    warnings.warn(text, stacklevel=3)
