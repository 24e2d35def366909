"""Detection of collapse from logged values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steadygan.objective.adversarial import AdversarialLoss

LEAST_DIVERSITY = 0.1
"""Fakes whose diversity is below this share of the reals' count as all alike."""
SATURATED_LOSS = 0.02
"""D has nothing left to learn when its loss is below this share of its value at chance."""
SCORE_JUMP = 5.0
"""A score this many times worse than the best one is not a fluctuation."""
LINES, STEPS = 10, 500
"""In how many log lines in a row, and over how many steps, a symptom must show: GANs go through bad moments."""


@dataclass(frozen=True)
class Collapse:
    """A collapse at `step`: the symptom in words, with its numbers. since: the last step without it."""

    step: int
    since: int
    symptom: str


@dataclass
class Lasting:
    """How long a symptom has been showing."""

    since: int = 0
    lines: int = 0
    told: bool = False

    def look(self, step: int, shows: bool) -> bool:
        """True once, when the symptom has lasted long enough; it must disappear before it is reported again."""
        if not shows:
            self.since, self.lines, self.told = step, 0, False
            return False
        self.lines += 1
        if self.told or self.lines < LINES or step - self.since < STEPS:
            return False
        self.told = True
        return True


@dataclass
class CollapseDetector:
    """Is shown every line of metrics.jsonl and says when training has collapsed.

    loss: the run's, which gives D's loss at chance (Wasserstein's has no such value: D cannot be saturated). With
    a loss that compares reals with fakes, D's loss alone decides, with others its accuracies too. What it says depends
    on the lines alone, so that one shown those of a resumed run behaves as if it had never stopped.
    """

    loss: AdversarialLoss
    _alike: Lasting = field(default_factory=Lasting)
    _saturated: Lasting = field(default_factory=Lasting)

    def look(self, row: Mapping[str, Any]) -> Collapse | None:
        """Takes one line; lines without the values in question (events, other objectives) change nothing."""
        step, diversity = row["step"], row.get("G_diversity")
        if diversity is not None and self._alike.look(step, diversity < LEAST_DIVERSITY):
            return Collapse(
                step,
                self._alike.since,
                f"G's images look all alike (G_diversity {diversity:.2g}: the spread of its images as a share of the "
                f"reals', below {LEAST_DIVERSITY:g})",
            )
        accuracies = [row.get("D_accuracy_train"), row.get("D_accuracy_fake")]
        critic, generator = row.get("D/adversarial"), row.get("G/adversarial")
        if critic is None or self.loss.undecided is None or (None in accuracies and self.loss.boundary is not None):
            return None
        tells_all = self.loss.boundary is None or accuracies == [1, 1]
        saturated = tells_all and critic < SATURATED_LOSS * self.loss.undecided
        if self._saturated.look(step, saturated):
            pays = "" if generator is None else f", G/adversarial is {generator:.2g}"
            return Collapse(
                step,
                self._saturated.since,
                "D tells all reals from all fakes and has nothing left to learn ("
                f"{'' if self.loss.boundary is None else 'D_accuracy_train and D_accuracy_fake are 1, '}"
                f"D/adversarial is {critic:.2g}{pays})",
            )
        return None


def score_jump(step: int, score: float, best: float) -> Collapse | None:
    """The collapse that a score (lower is better) tells of by itself; best: of those before, infinite without any."""
    if not 0 < best < math.inf or score <= SCORE_JUMP * best:
        return None
    return Collapse(step, -1, f"the score jumped to {score:.4g}, more than {SCORE_JUMP:g} times the best, {best:.4g}")
