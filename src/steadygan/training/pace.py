"""When a run is scored that was not told when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHARE = 0.03
"""Of the time of training that scores may take."""
FAKES = 2000
"""How many images a score is taken to make before the first one was timed."""


@dataclass
class Pace:
    """Scores as often as keeps them under 3 % of the time that training takes.

    It depends on the speed of the machine which steps are scored, never what is trained. spent, last: seconds that all
    scores and the last one have taken, None before the first.
    """

    spent: float = 0.0
    last: float | None = None

    @classmethod
    def of(cls, scores: Iterable[Mapping[str, Any]]) -> Pace:
        """That of a run that goes on, from its scores.jsonl."""
        taken = [float(row["eval_seconds"]) for row in scores if "eval_seconds" in row]
        return cls(sum(taken), taken[-1] if taken else None)

    def due(self, seconds: float, images: int) -> bool:
        """Whether another score fits in, after so many seconds of training that looked at so many images.

        The first is expected to take as long as training on as many images takes, which is longer.
        """
        expected = FAKES * seconds / max(images, 1) if self.last is None else self.last
        return self.spent + expected <= SHARE * seconds

    def took(self, seconds: float) -> None:
        """Counts a score."""
        self.spent, self.last = self.spent + seconds, seconds
