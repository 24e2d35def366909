"""What to do when training goes wrong by itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Watchdog:
    """Decides from the count of skipped phases when a run cannot recover by skipping alone.

    A phase with a non-finite gradient is skipped and training goes on. When more than half of the phases between two
    looks were skipped, the weights are beyond saving and the run is to be rolled back; after `patience` rollbacks it
    has diverged for good.
    """

    patience: int = 3
    rollbacks: int = 0
    _skipped: int = 0
    _phases: int = 0

    def must_roll_back(self, skipped: int, phases: int) -> bool:
        """Takes the totals so far; true when most phases since the last look were skipped."""
        new_skipped, new_phases = skipped - self._skipped, phases - self._phases
        self._skipped, self._phases = skipped, phases
        return new_phases > 0 and new_skipped > new_phases / 2

    def rolled_back(self, skipped: int, phases: int) -> None:
        """Notes a rollback to these totals."""
        self._skipped, self._phases = skipped, phases
        self.rollbacks += 1
