"""Diagnosis of a run from its records: a verdict, and settings to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steadygan.diagnosis.checks import (
    UNTAUGHT,
    Check,
    diverging,
    fine,
    ignores_images,
    leaks,
    memorises,
    modes_are_going,
    nothing_is_learnt,
    turned,
)
from steadygan.diagnosis.looking import STEPS, blind_lately
from steadygan.diagnosis.records import Records, Row
from steadygan.diagnosis.verdict import KINDS, Advice, Kind, Verdict

__all__ = ["CHECKS", "KINDS", "Advice", "Check", "Kind", "Records", "Verdict", "diagnose"]

LINES = 5
"""Minimum number of lines of metrics.jsonl for a verdict."""

CHECKS: tuple[Check, ...] = (
    diverging,
    leaks,
    memorises,
    ignores_images,
    modes_are_going,
    nothing_is_learnt,
    turned,
    fine,
)
"""In order of priority; the first that returns a verdict decides."""


def diagnose(
    rows: Sequence[Row], scores: Sequence[Row], status: str = "", *, config: Mapping[str, Any] | None = None
) -> Verdict:
    """Diagnoses a run from its records; a pure function.

    Args:
        rows: the lines of metrics.jsonl, events included, by rising step.
        scores: the lines of scores.jsonl, by rising step.
        status: the run's state ("running", "finished", …), for the verdict "cannot tell".
        config: the run's configuration by dotted key (`optim.d.lr`), for its loss and for advice.
    """
    records = Records(rows, scores, config or {})
    lines, running = records.lines, status in ("running", "starting")
    if len(lines) < LINES:
        often = records.config.get("train.log_every") == 1
        later = "look again later" if running else "train longer" if often else "lower train.log_every, or train longer"
        return Verdict(
            "cannot tell",
            f"Too early to tell: {len(lines)} line{'s' * (len(lines) != 1)} of metrics, {LINES} are needed; {later}.",
            {"lines": len(lines)},
        )
    found = next((verdict for check in CHECKS if (verdict := check(records)) is not None), None)
    if found is not None:
        return found
    if records.step < UNTAUGHT:
        return Verdict(
            "cannot tell",
            f"Too early to tell: the run is at step {records.step}, and nothing has gone wrong so far; what it learns "
            f"shows from step {UNTAUGHT} on; {'look again later' if running else 'train longer'}.",
            {"lines": len(lines)},
        )
    if blind_lately(records.rows):
        again = "look again later" if running else "train longer"
        return Verdict(
            "cannot tell",
            "Too early to tell: in the newest lines D's logit hardly varies between images and ranks reals above fakes "
            f"by chance; if that lasts for {STEPS} steps, D ignores the image; {again}.",
            {
                "D_spread_within": records.tail("D_spread_within") or 0.0,
                "D_auc_fake": records.tail("D_auc_fake") or 0.0,
            },
        )
    unscored = not records.headline()
    why = "no scores were taken" if unscored else "the score has neither improved nor turned"
    advice = (Advice("eval.every", max(1, lines[-1]["step"] // 10), "scores tell"),) if unscored else ()
    return Verdict(
        "cannot tell", f"Cannot tell: {why}, and no sign of trouble shows.", {"lines": len(lines)}, None, advice
    )
