"""Health of a run in a sentence, from `steadygan diagnose`."""

from __future__ import annotations

from typing import Any

from steadygan.diagnosis import diagnose
from steadygan.runs.following import last_rows
from steadygan.studio.control import may_set
from steadygan.studio.run import RunFiles
from steadygan.studio.words import flat

ROWS, BYTES = 20_000, 8 << 20
"""Number of newest lines used for a long run."""


def verdict(run: RunFiles) -> dict[str, Any]:
    """kind, sentence, numbers, since_step and advice (key, value, why, override, branch).

    branch: whether a page can start a branch with the change, which must not affect the networks.
    """
    rows = last_rows(run.part("metrics.jsonl"), ROWS, at_most=BYTES)
    found = diagnose(rows, run.scores, run.state()["state"], config=flat(run.config)).as_json()
    for advice in found["advice"]:
        advice["branch"] = may_set(advice["key"]) and not advice["key"].startswith("model.")
    return found
