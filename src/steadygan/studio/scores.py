"""The scores of a run for pages: its headline score, and a curve for each score and protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from steadygan.runs.following import Row
from steadygan.runs.reading import cost, is_distance, number, protocol_identity, score_names
from steadygan.studio.words import better

SPARK = 60
"""Maximum number of points of a card's curve."""
SPREADS = ("_std", "_low", "_high")


def headline(scores: Sequence[Row]) -> dict[str, Any] | None:
    """The headline score of a run: name, points, their number, and the cost of the last one (lower is better).

    It uses the most frequent protocol, preferably one with a Fréchet distance. Scores by other protocols, such as a
    final evaluation or a health check, are not in its curve.
    """
    taken: dict[str, list[Row]] = {}
    for row in scores:
        taken.setdefault(protocol_identity(row), []).append(row)
    rows = max(reversed(taken.values()), key=lambda rows: (any(map(is_distance, rows[-1])), len(rows)), default=[])
    named = [name for row in reversed(rows) for name in score_names(row) if finite(row.get(name))]
    name = next((one for one in named if cost(one, 1.0) is not None), next(iter(named), None))
    if name is None:
        return None
    points = [(row["step"], row[name]) for row in rows if finite(row.get(name))]
    return {"name": name, "points": _few(points, SPARK), "count": len(points), "cost": cost(name, points[-1][1])}


def curves(scores: Sequence[Row]) -> list[dict[str, Any]]:
    """One curve for each score and protocol: name, protocol, its key values, points.

    A point is a step and a value, plus its interval if recorded (`NAME_std`, or `NAME_low` and `NAME_high`). Intervals
    are not scores themselves.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in scores:
        identity, names = protocol_identity(row), score_names(row)
        for name in names:
            if any(name.endswith(end) and name.removesuffix(end) in names for end in SPREADS):
                continue
            curve = found.setdefault(
                (name, identity),
                {
                    "name": name,
                    "identity": identity,
                    "protocol": row["protocol"],
                    "better": better(name),
                    "points": [],
                },
            )
            value = number(row[name])
            known = [value, *_spread(row, name)] if math.isfinite(value) else [None]
            curve["points"].append([row["step"], *known])
    return list(found.values())


def _spread(row: dict[str, Any], name: str) -> list[float]:
    """The ends of a score's interval; empty if there is none."""
    wide = number(row.get(f"{name}_std"))
    ends = [number(row[name]) - wide, number(row[name]) + wide]
    if not math.isfinite(wide):
        ends = [number(row.get(f"{name}_low")), number(row.get(f"{name}_high"))]
    return ends if all(map(math.isfinite, ends)) else []


def _few(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most `most` of the points, both ends included."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def finite(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
