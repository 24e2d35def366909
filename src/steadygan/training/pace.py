"""The default times at which a run is scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SHARE = 0.03
"""Of the time of training that scores may take."""
FIRST = 500
"""The first score is expected to take as long as training on so many images; a run of minutes needs it early."""


@dataclass
class Pace:
    """Scores as often as keeps them under 3 % of the time that training takes; the first may take more for a while.

    It depends on the speed of the machine which steps are scored, never what is trained. spent, last: seconds that all
    scores and the last one have taken, None before the first.
    """

    spent: float = 0.0
    last: float | None = None

    @classmethod
    def of(cls, scores: Iterable[Mapping[str, Any]]) -> Pace:
        """The pace of a resumed run, from its scores.jsonl."""
        taken = [float(row["eval_seconds"]) for row in scores if "eval_seconds" in row]
        return cls(sum(taken), taken[-1] if taken else None)

    def due(self, seconds: float, images: int) -> bool:
        """Whether another score fits in after this many seconds and images of training."""
        return self.spent + self.expected(seconds, images) <= SHARE * seconds

    def expected(self, seconds: float, images: int) -> float:
        """Seconds that the next score will take: as many as the last one, or an estimate before the first."""
        return FIRST * seconds / max(images, 1) if self.last is None else self.last

    def took(self, seconds: float) -> None:
        """Counts a score."""
        self.spent, self.last = self.spent + seconds, seconds


@dataclass
class Patience:
    """Ends a run whose scores no longer improve.

    limit: how many scores in a row may be no better than the best, None for any number; worse: how many they are.
    """

    limit: int | None
    worse: int = 0

    @classmethod
    def of(cls, limit: int | None, scores: Iterable[Mapping[str, Any]], best: int | None) -> Patience:
        """That of a resumed run, from its scores.jsonl and the step of its best checkpoint."""
        if best is None:
            return cls(limit)
        return cls(limit, sum("eval_seconds" in row and row["step"] > best for row in scores))

    def saw(self, best: bool) -> None:
        """Counts a score, which is the best so far or is not."""
        self.worse = 0 if best else self.worse + 1

    def ended(self) -> bool:
        """Whether the run shall end."""
        return self.limit is not None and self.worse >= self.limit
