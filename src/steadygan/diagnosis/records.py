"""Access to a run's records for checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from steadygan.runs.reading import is_distance, protocol_identity

Row = Mapping[str, Any]

TAIL, FEWEST = 0.25, 3
"""The recent value is the median over the last quarter of the lines, at least three."""
UNDECIDED = {"hinge": 2.0, "non-saturating": 2 * math.log(2), "least-squares": 0.25, "relativistic": math.log(2)}
"""D's loss at chance by adversarial loss, from `objective.adversarial`; the Wasserstein loss has none."""


@dataclass(frozen=True)
class Records:
    """Lines of metrics.jsonl and of scores.jsonl by rising step, and the configuration by dotted key."""

    rows: Sequence[Row]
    scores: Sequence[Row]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lines(self) -> list[Row]:
        """The rows that hold losses, without events."""
        return [row for row in self.rows if "event" not in row]

    @property
    def step(self) -> int:
        """The training step of the last line."""
        return int(self.lines[-1]["step"])

    @property
    def events(self) -> list[Row]:
        return [row for row in self.rows if "event" in row]

    @property
    def undecided(self) -> float | None:
        """D's loss at chance; None if the loss has no such level."""
        return UNDECIDED.get(str(self.config.get("objective.loss", "hinge")))

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every line with this entry; NaN for non-finite values."""
        return [(row["step"], number(row[name])) for row in self.lines if name in row]

    def tail(self, name: str) -> float | None:
        """The median over the last quarter of the lines; NaN if one is not finite, None if there are none."""
        values = [value for _, value in self.series(name)]
        return middle(values[-max(FEWEST, math.ceil(TAIL * len(values))) :])

    def headline(self) -> list[tuple[int, float]]:
        """(step, Fréchet distance) of each score of the most frequent protocol."""
        taken: dict[str, list[tuple[int, float]]] = {}
        for row in self.scores:
            name = next(filter(is_distance, row), None)
            if name is not None:
                taken.setdefault(f"{name} {protocol_identity(row)}", []).append((row["step"], number(row[name])))
        return max(taken.values(), key=len, default=[])

    def score(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every score of that name."""
        return [(row["step"], number(row[name])) for row in self.scores if name in row]

    def term(self, name: str) -> bool:
        """Whether the objective has this term."""
        return any(key.startswith(f"objective.terms.{name}") for key in self.config)


def number(value: Any) -> float:
    """A float; NaN for the values a diverged run writes (null, NaN, Infinity)."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def middle(values: Sequence[float]) -> float | None:
    """The median; NaN if a value is NaN, None if there are no values."""
    if not values:
        return None
    return math.nan if any(math.isnan(value) for value in values) else median(values)


def since(series: Sequence[tuple[int, float]], shows: Callable[[float], bool]) -> int | None:
    """The first step since which `shows(value)` holds; None if it does not hold in most of the last lines.

    Most of the last lines (those of `Records.tail`) are enough, as for the median that a verdict is about; before
    them it must hold in at least nine of ten lines.
    """
    count = max(FEWEST, math.ceil(TAIL * len(series)))
    # In the tail: the step from which on lines that show it outnumber the others the most.
    first, margin, most, missed = None, 0, 0, 0
    for step, value in reversed(series[-count:]):
        margin += 1 if shows(value) else -1
        if margin > most:
            first, most, missed = step, margin, 0
        else:
            missed += not shows(value)
    if first is None:
        return None
    for seen, (step, value) in enumerate(reversed(series[:-count]), start=1):
        if shows(value):
            first = step
            continue
        missed += 1
        if missed > max(1, (count + seen) // 10):
            break
    return first
