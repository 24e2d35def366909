"""Decides on rollbacks when gradients are not finite."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Watchdog:
    """Decides from the count of skipped phases whether a run has to be rolled back.

    A phase with a non-finite gradient is skipped and training continues. If more phases were skipped than half the
    steps since the last check, at least one player has mostly stopped learning, and the run is rolled back. `window`:
    checks that are fewer steps apart are merged, so that a single skipped phase never decides.
    """

    window: int = 10
    _skipped: int = 0
    _step: int = 0

    def begin(self, skipped: int, step: int) -> None:
        """Starts counting from these totals."""
        self._skipped, self._step = skipped, step

    def must_roll_back(self, skipped: int, step: int) -> bool:
        """Updates the totals; returns True if a player has mostly stopped learning since the last check."""
        new_skipped, new_steps = skipped - self._skipped, step - self._step
        if new_steps < self.window:
            return False
        self.begin(skipped, step)
        return new_skipped > new_steps / 2
