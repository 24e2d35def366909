"""How far a run is: by its steps or, where it was given hours, by the time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steadygan.config import TrainConfig


@dataclass
class Clock:
    """The time that a run has taken, all its sessions together: steps, scores and checkpoints, but no pauses.

    steps: the most that the run takes; budget: seconds that it may take, None for as many as the steps need; before:
    seconds of earlier sessions; reserve: seconds of the budget that the last score will need.
    """

    steps: int
    budget: float | None = None
    before: float = 0.0
    reserve: float = 0.0
    _began: float = field(default_factory=lambda: time.perf_counter())

    @classmethod
    def of(cls, train: TrainConfig, rows: Sequence[Mapping[str, Any]] = (), seconds: float = 0.0) -> Clock:
        """The clock of a resumed run.

        Args:
            train: its configuration.
            rows: its metrics.jsonl, of which the last line with `spent` says how much of the budget was used.
            seconds: of training so far, for a run whose earlier lines do not say.
        """
        budget = None if train.hours is None else 3600 * train.hours
        spent = next((float(row["spent"]) for row in reversed(rows) if "spent" in row), seconds)
        return cls(train.steps, budget, spent)

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self.before + time.perf_counter() - self._began

    def moment(self, step: int) -> int:
        """Where the run is between 0 and `steps`: at `step`, or with a budget where the time is, if that is further."""
        if self.budget is None:
            return step
        training = max(self.budget - self.reserve, self.budget / 2)
        return max(step, min(self.steps, int(self.steps * self.spent / training)))

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Time within does not count."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - began
