"""Detects from metrics.jsonl whether the discriminator uses the image.

The bounds separate runs of benchmarks/looking.py that ignored the image (spread within classes 0.001 to 0.01) from runs
that learnt (0.035 and more; D_auc_fake was 0.53 to 1 at times in both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHANCE = 0.2
"""Distance of D_auc_fake from 0.5 below which D is at chance."""
LEAST_SPREAD = 0.02
"""Below this spread within a class the logit carries no information on the image, as losses have their margin at 1."""
LABEL = 10.0
"""Ratio of the spread between classes to that within a class above which the logit follows the label."""
LINES, STEPS = 5, 200
"""Number of last lines, and of steps, that must show it: at the start of every run D uses the image little."""
CONSISTENCY = ("D/cr", "D/bcr_real", "D/zcr_dis")


@dataclass(frozen=True)
class NotLooking:
    """D ignores the image.

    Attributes:
        step: of the last line.
        since: the last step at which it used the image, 0 if it never did.
        reads_label: it uses the label instead.
        symptom: description with numbers.
        remedy: settings to change.
    """

    step: int
    since: int
    reads_label: bool
    symptom: str
    remedy: str


def not_looking(rows: Sequence[Mapping[str, Any]]) -> NotLooking | None:
    """Checks the newest lines; None if D uses the image, or if that is unknown.

    rows: lines of metrics.jsonl. Lines without `D_auc_fake` and `D_spread_within` (events, other kinds of runs) are
    skipped. A D that ignores the image is at chance between reals and fakes with the same labels *and* its logit hardly
    varies within a class, absolutely or relative to its variation between classes. Either alone is healthy: near an
    equilibrium D is at chance, and consistency terms keep its logits small.
    """
    told = _told(rows)
    showing = missed = 0
    for count, row in enumerate(reversed(told), start=1):
        if _blind(row):
            showing = count
            continue
        missed += 1
        if missed > count // 10:  # one line in ten may be another
            break
    since = told[-1 - showing]["step"] if showing < len(told) else 0
    if showing < LINES or told[-1]["step"] - since < STEPS:
        return None
    last = told[-1]
    label = _reads_label(last)
    within, between = last["D_spread_within"], last.get("D_spread_between")
    symptom = (
        f"D ignores the image: it ranks a real above a fake {last['D_auc_fake']:.0%} of the time "
        f"(D_auc_fake; chance is 50 %), and its logit varies by {within:.2g} within a class (D_spread_within)"
    )
    if label and between is not None:
        symptom += f" but by {between:.2g} between classes (D_spread_between): it uses the label"
    return NotLooking(last["step"], since, label, symptom, _remedy(last, label))


def blind_lately(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether D saw nothing in the newest lines: too few to say so, but too many to call the run fine."""
    newest = _told(rows)[-LINES:]
    return len(newest) == LINES and all(map(_blind, newest))


def _told(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines that say what D sees."""
    return [row for row in rows if row.get("D_auc_fake") is not None and row.get("D_spread_within") is not None]


def _blind(row: Mapping[str, Any]) -> bool:
    at_chance = abs(row["D_auc_fake"] - 0.5) < CHANCE
    return at_chance and (row["D_spread_within"] < LEAST_SPREAD or _reads_label(row))


def _reads_label(row: Mapping[str, Any]) -> bool:
    between = row.get("D_spread_between")
    return between is not None and between > LABEL * row["D_spread_within"]


def _remedy(row: Mapping[str, Any], label: bool) -> str:
    """Settings to try, in order."""
    settings = ["model.fake_labels=data, so that labels do not reveal fakes"] if label else []
    if any(name in row for name in CONSISTENCY):
        settings.append(
            "weaker consistency terms, or ones that rise (objective.terms.bcr.real={shape: linear, start: 0, end: 10, "
            "steps: 2000}): they penalise D for using the image, not for using the label"
        )
    settings.append(
        "a D that preserves the image: model.critic.sn_gain=2 (dcgan, resnet), or model.kind=resnet at 32 px"
    )
    return "try " + "; then ".join(settings)
