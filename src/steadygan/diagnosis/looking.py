"""Does the discriminator look at the image? Read from the lines of metrics.jsonl alone.

The bounds lie between runs of benchmarks/looking.py that were blind (a spread within classes of 0.001 to 0.01) and
runs that learnt (0.035 and more; D_auc_fake of 0.53 to 1 at times in both).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHANCE = 0.2
"""A D that ranks a real above a fake this near to half of the time can't tell them."""
LEAST_SPREAD = 0.02
"""A logit that varies less within a class says nothing of the image: losses have their margin at 1."""
LABEL = 10.0
"""A logit that varies this many times more between classes than within one follows the label."""
LINES, STEPS = 5, 200
"""In how many last lines, and over how many steps, it must show: D sees little at the very start of every run."""
CONSISTENCY = ("D/cr", "D/bcr_real", "D/zcr_dis")


@dataclass(frozen=True)
class NotLooking:
    """D does not look at the image.

    step: of the last line; since: the last step at which it still did, 0 if it never has; reads_label: it reads the
    label instead; symptom: in words, with the numbers; remedy: what to set.
    """

    step: int
    since: int
    reads_label: bool
    symptom: str
    remedy: str


def not_looking(rows: Sequence[Mapping[str, Any]]) -> NotLooking | None:
    """Judges the newest lines: None when D looks at the image, or when that is unknown.

    rows: lines of metrics.jsonl as they were written. Lines without `D_auc_fake` and `D_spread_within` (events, other
    kinds of run) are passed over. A D that takes no notice of the image is at chance between reals and fakes of the
    same labels *and* has a logit that hardly varies within a class, for itself or against what it varies between
    classes. Either alone is a healthy run's: near an equilibrium D is at chance, and consistency terms keep it small.
    """
    told = [row for row in rows if row.get("D_auc_fake") is not None and row.get("D_spread_within") is not None]
    showing = 0
    while showing < len(told) and _blind(told[-1 - showing]):
        showing += 1
    since = told[-1 - showing]["step"] if showing < len(told) else 0
    if showing < LINES or told[-1]["step"] - since < STEPS:
        return None
    last = told[-1]
    label = _reads_label(last)
    within, between = last["D_spread_within"], last.get("D_spread_between")
    symptom = (
        f"D does not look at the image: it ranks a real above a fake {last['D_auc_fake']:.0%} of the time "
        f"(D_auc_fake; chance is 50 %), and its logit varies by {within:.2g} within a class (D_spread_within)"
    )
    if label and between is not None:
        symptom += f" but by {between:.2g} between classes (D_spread_between): it reads the label"
    return NotLooking(last["step"], since, label, symptom, _remedy(last, label))


def _blind(row: Mapping[str, Any]) -> bool:
    at_chance = abs(row["D_auc_fake"] - 0.5) < CHANCE
    return at_chance and (row["D_spread_within"] < LEAST_SPREAD or _reads_label(row))


def _reads_label(row: Mapping[str, Any]) -> bool:
    between = row.get("D_spread_between")
    return between is not None and between > LABEL * row["D_spread_within"]


def _remedy(row: Mapping[str, Any], label: bool) -> str:
    """Settings in the order in which to try them."""
    settings = ["model.fake_labels=data, so that labels give nothing away"] if label else []
    if any(name in row for name in CONSISTENCY):
        settings.append(
            "weaker consistency terms, or ones that rise (objective.terms.bcr.real={shape: linear, start: 0, end: 10, "
            "steps: 2000}): they charge D for what it says of the image and not for what it says of the label"
        )
    settings.append(
        "a D that preserves the image: model.critic.sn_gain=2 (dcgan, resnet), or model.kind=resnet at 32 px"
    )
    return "try " + "; then ".join(settings)
