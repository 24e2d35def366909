"""The measurements of a run by column, thinned to the resolution of a screen."""

from __future__ import annotations

import math
import stat
import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadygan.runs.following import Follower, Row, record

NOT_MEASURED = {"step", "event"}
SAMPLED_ABOVE = 16 << 20
"""Bytes of new records above which the first response uses evenly spaced lines, while a thread reads all."""
SAMPLES = 3000
HEAD_START = 1.0
"""Delay in seconds before all lines are read, so that the first page is served first."""
EVENTS = 2000


def is_plain(path: Path) -> bool:
    """Whether a path is a regular file, a folder, or does not exist."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class Columns:
    """Follows `metrics.jsonl` and keeps its numbers; thread-safe.

    `events` are the newest `EVENTS` rows with `event`, oldest first. `damaged` counts invalid lines. `version`
    increases with every change.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._follower = Follower(path)
        self._overview: _Table | None = None
        self._table = _Table()
        self.version = 0

    @property
    def damaged(self) -> int:
        return self._follower.damaged

    @property
    def exact(self) -> bool:
        """Whether every line of the file has been read."""
        return self._overview is None

    def refresh(self) -> None:
        """Reads new lines. For a very long file, reads a sample first and the rest in another thread.

        Links are not followed and pipes not opened.
        """
        if not is_plain(self.path) or not self._reading.acquire(blocking=False):
            return
        behind = False
        try:
            size = self.path.stat().st_size if self.path.is_file() else 0
            if size - self._follower.offset > SAMPLED_ABOVE and not self._table.steps:
                with self._lock:
                    self._overview = sample(self.path, size)
                    self.version += 1
                behind = True
                later = threading.Timer(HEAD_START, self._catch_up)
                later.daemon = True
                later.start()
            else:
                self._read()
        except OSError:
            return
        finally:
            if not behind:
                self._reading.release()

    def _catch_up(self) -> None:
        try:
            self._read()
            with self._lock:
                self._overview = None
                self.version += 1
        finally:
            self._reading.release()

    def _read(self) -> None:
        restarts = self._follower.restarts
        for rows in self._follower.parts():
            with self._lock:
                if self._follower.restarts != restarts:
                    restarts, self._table = self._follower.restarts, _Table()
                for row in rows:
                    self._table.add(row)
                self.version += bool(rows)

    @property
    def events(self) -> list[Row]:
        with self._lock:
            return list(self._shown.events)

    @property
    def names(self) -> list[str]:
        """The columns in order of first appearance."""
        with self._lock:
            return list(self._shown.values)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last step."""
        with self._lock:
            steps = self._shown.steps
            return (min(steps[0], steps[-1]), max(steps)) if steps else None

    @property
    def _shown(self) -> _Table:
        return self._overview or self._table

    def thin(self, name: str, first: float, last: float, points: int) -> dict[str, Any]:
        """One column between two steps, as about `points` points at most.

        Few values are returned unchanged: `steps`, `values` (None if not finite). Many are aggregated to `low`, `high`
        and `mean` of equal intervals of steps, so that no peak is lost. `total`: the number of values.

        Args:
            name: the column.
            first, last: steps, both included.
            points: maximum number of points, roughly.
        """
        with self._lock:
            table = self._shown
            if name not in table.values:
                return {"steps": [], "values": [], "total": 0}
            steps, values = table.column(name)
        return thin(steps, values, first, last, points)


class _Table:
    """Steps, and the values of each column with NaN for lines without it."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values: dict[str, array[float]] = {}
        self.events: list[Row] = []

    def add(self, row: Row) -> None:
        if "event" in row:
            self.events.append(row)
            del self.events[:-EVENTS]
            return
        count = len(self.steps)
        self.steps.append(max(min(row["step"], 2**62), -(2**62)))
        for name, value in row.items():
            if name in NOT_MEASURED or isinstance(value, str | list | dict | bool):
                continue
            column = self.values.get(name)
            if column is None:
                column = self.values[name] = array("d")
            if len(column) < count:
                column.extend([math.nan] * (count - len(column)))
            # null means a value that diverged; distinguish it from one that was not measured.
            column.append(math.inf if value is None else float(value) if abs(value) < 1e300 else math.inf)

    def column(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        values = np.array(self.values[name], dtype=np.float64)
        steps = np.array(self.steps, dtype=np.int64)[: len(values)]
        return steps, values


def sample(path: Path, size: int) -> _Table:
    """A table of evenly spaced lines of a file, including the last ones."""
    table = _Table()
    with path.open("rb") as file:
        for place in range(SAMPLES):
            file.seek(size * place // SAMPLES)
            if place:
                file.readline(1 << 20)
            if (row := record(file.readline(1 << 20))) is not None:
                table.add(row)
        file.seek(max(0, size - 4096))
        file.readline()
        for line in file:
            if (row := record(line)) is not None and (not table.steps or row["step"] > table.steps[-1]):
                table.add(row)
    return table


def thin(
    steps: NDArray[np.int64], values: NDArray[np.float64], first: float, last: float, points: int
) -> dict[str, Any]:
    """See `Columns.thin`; NaN: not measured, infinity: not finite.

    Args:
        steps: (N,), in the order of records.
        values: (N,).
        first, last: steps, both included.
        points: maximum number of points, roughly.
    """
    measured = ~np.isnan(values)
    steps, values = steps[measured], values[measured]
    if len(steps) and not np.all(steps[1:] > steps[:-1]):
        # After a rollback, the later measurement counts.
        order = np.argsort(steps, kind="stable")
        steps, values = steps[order], values[order]
        newest = np.append(steps[1:] != steps[:-1], True)
        steps, values = steps[newest], values[newest]
    inside = slice(int(np.searchsorted(steps, first, "left")), int(np.searchsorted(steps, last, "right")))
    steps, values = steps[inside], values[inside]
    total = len(steps)
    if total <= 2 * points:
        return {"steps": steps.tolist(), "values": [_plain(v) for v in values], "total": total}
    low_end, high_end = float(steps[0]), float(steps[-1])
    edges = np.linspace(low_end, high_end, points + 1)[:-1]
    starts = np.unique(np.searchsorted(steps, edges, "left"))
    finite = np.isfinite(values)
    low = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    count = np.add.reduceat(finite.astype(np.int64), starts)
    mean = np.add.reduceat(np.where(finite, values, 0.0), starts) / np.maximum(count, 1)
    middle = (steps[starts] + steps[np.append(starts[1:], total) - 1]) // 2
    some = count > 0
    return {
        "steps": middle.tolist(),
        "low": [_plain(v) if ok else None for v, ok in zip(low, some, strict=True)],
        "high": [_plain(v) if ok else None for v, ok in zip(high, some, strict=True)],
        "mean": [_plain(v) if ok else None for v, ok in zip(mean, some, strict=True)],
        "total": total,
    }


def _plain(value: float) -> float | None:
    """Rounds to six digits; None for non-finite values."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
