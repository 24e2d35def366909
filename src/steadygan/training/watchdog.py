"""Rollbacks when gradients are not finite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Watchdog:
    """Decides from the count of skipped phases when a run cannot recover by skipping alone.

    A phase with a non-finite gradient is skipped and training continues. When there were more skipped phases than half
    the steps since the last look, one player at least has mostly stood still, the weights are beyond saving and the
    run is to be rolled back. `window`: looks that are fewer steps apart are put together, so that a single skipped
    phase never counts as most of them.
    """

    window: int = 10
    _skipped: int = 0
    _step: int = 0

    def begin(self, skipped: int, step: int) -> None:
        """Starts counting at these totals."""
        self._skipped, self._step = skipped, step

    def must_roll_back(self, skipped: int, step: int) -> bool:
        """Takes the totals so far; true when a player has mostly stood still since the last look."""
        new_skipped, new_steps = skipped - self._skipped, step - self._step
        if new_steps < self.window:
            return False
        self.begin(skipped, step)
        return new_skipped > new_steps / 2
