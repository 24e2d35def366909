"""Health in a sentence, from `steadygan diagnose`. The studio's only link to the diagnosis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from steadygan.runs.following import last_rows
from steadygan.studio.run import RunFiles
from steadygan.studio.words import flat

ROWS, BYTES = 20_000, 8 << 20
"""How much of a long run is looked at: its newest lines."""


def diagnose() -> Callable[..., Any] | None:
    """The function that returns the verdict; None in an installation without it."""
    try:
        from steadygan.diagnosis import diagnose as found  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return found  # type: ignore[no-any-return,unused-ignore]


def verdict(run: RunFiles) -> dict[str, Any]:
    """`available`, and with it kind, sentence, numbers, since_step and advice (key, value, why, override)."""
    judge = diagnose()
    if judge is None:
        return {"available": False}
    rows = last_rows(run.path / "metrics.jsonl", ROWS, at_most=BYTES)
    found = judge(rows, run.scores, run.state()["state"], config=flat(run.config))
    return {"available": True, **found.as_json()}
