"""Progress of a run: in steps or, with a budget of hours, in time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steadygan.config import TrainConfig


@dataclass
class Clock:
    """The time a run has used over all its sessions: steps, scores and checkpoints, without pauses.

    Attributes:
        steps: maximum number of steps.
        budget: maximum seconds, None for no limit.
        before: seconds used by earlier sessions.
        reserve: seconds of the budget set aside for the last score.
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
            rows: its metrics.jsonl; the last line with `spent` gives the used part of the budget.
            seconds: of training so far, used if no line has `spent`.
        """
        budget = None if train.hours is None else 3600 * train.hours
        spent = next((float(row["spent"]) for row in reversed(rows) if "spent" in row), seconds)
        return cls(train.steps, budget, spent)

    @property
    def spent(self) -> float:
        """Seconds used so far."""
        return self.before + time.perf_counter() - self._began

    def moment(self, step: int) -> int:
        """Progress between 0 and `steps`: `step`, or with a budget the progress in time, whichever is further."""
        if self.budget is None:
            return step
        training = max(self.budget - self.reserve, self.budget / 2)
        return max(step, min(self.steps, int(self.steps * self.spent / training)))

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Context manager: time inside does not count."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._began += time.perf_counter() - began
