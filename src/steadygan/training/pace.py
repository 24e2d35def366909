"""The default schedule of scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from steadygan.runs.reading import protocol_identity

SHARE = 0.03
"""Maximum time for scores, as a fraction of training time."""
FIRST = 500
"""Estimated cost of the first score, as a number of training images; short runs need it early."""


@dataclass
class Pace:
    """Schedules scores so that they take less than 3 % of training time; the first may exceed it temporarily.

    The machine's speed affects which steps are scored, never the training.

    Attributes:
        spent, last: seconds taken by all scores and by the last one, None before the first.
    """

    spent: float = 0.0
    last: float | None = None

    @classmethod
    def of(cls, scores: Iterable[Mapping[str, Any]]) -> Pace:
        """The pace of a resumed run, from its scores.jsonl."""
        taken = [float(row["eval_seconds"]) for row in scores if "eval_seconds" in row]
        return cls(sum(taken), taken[-1] if taken else None)

    def due(self, seconds: float, images: int) -> bool:
        """Whether another score is due after this many seconds and images of training."""
        return self.spent + self.expected(seconds, images) <= SHARE * seconds

    def expected(self, seconds: float, images: int) -> float:
        """Expected seconds of the next score: those of the last one, or an estimate before the first."""
        return FIRST * seconds / max(images, 1) if self.last is None else self.last

    def took(self, seconds: float) -> None:
        """Counts a score."""
        self.spent, self.last = self.spent + seconds, seconds


@dataclass
class Patience:
    """Ends a run whose scores no longer improve.

    Attributes:
        limit: maximum number of consecutive scores without improvement, None for no limit.
        worse: their current number.
        protocol: identity of their protocol; None before the first score.
    """

    limit: int | None
    worse: int = 0
    protocol: str | None = None

    @classmethod
    def of(cls, limit: int | None, scores: Iterable[Mapping[str, Any]], best: int | None) -> Patience:
        """Restores it for a resumed run, from its scores.jsonl and the step of its best checkpoint."""
        taken = [row for row in scores if "eval_seconds" in row]
        protocol = protocol_identity(taken[-1]) if taken else None
        return cls(limit, 0 if best is None else sum(row["step"] > best for row in taken), protocol)

    def follow(self, record: Mapping[str, Any]) -> bool:
        """Follows the protocol of a new score; returns whether it is another one, so that a new series begins."""
        before, self.protocol = self.protocol, protocol_identity(record)
        if before in (None, self.protocol):
            return False
        self.worse = 0
        return True

    def saw(self, best: bool) -> None:
        """Counts a score. best: whether it is the best so far."""
        self.worse = 0 if best else self.worse + 1

    def ended(self) -> bool:
        """Whether the run should end."""
        return self.limit is not None and self.worse >= self.limit
