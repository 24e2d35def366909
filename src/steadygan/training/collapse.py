"""Detection of collapse from logged values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steadygan.objective.adversarial import AdversarialLoss

LEAST_DIVERSITY = 0.1
"""Below this fraction of the reals' diversity, fakes count as collapsed."""
SATURATED_LOSS = 0.02
"""Below this fraction of its loss at chance, D is saturated."""
SCORE_JUMP = 5.0
"""A score this many times worse than the best one is a collapse, not a fluctuation."""
LINES, STEPS = 10, 500
"""Number of consecutive log lines, and of steps, over which a symptom must last: GANs recover from short ones."""


@dataclass(frozen=True)
class Collapse:
    """A collapse detected at `step`.

    Attributes:
        symptom: description with its numbers.
        since: the last step without it.
    """

    step: int
    since: int
    symptom: str


@dataclass
class Lasting:
    """Tracks how long a symptom has lasted."""

    since: int = 0
    lines: int = 0
    told: bool = False

    def look(self, step: int, shows: bool) -> bool:
        """Returns True once, when the symptom has lasted long enough; it must disappear before it is reported again."""
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
    """Detects collapse from the lines of metrics.jsonl.

    The result depends on the lines alone, so a resumed run behaves as if it had never stopped.

    Attributes:
        loss: the adversarial loss, which gives D's loss at chance. The Wasserstein loss has no such value, so D never
            counts as saturated. For relativistic losses D's loss alone decides; for others, its accuracies must agree.
    """

    loss: AdversarialLoss
    _alike: Lasting = field(default_factory=Lasting)
    _saturated: Lasting = field(default_factory=Lasting)

    def look(self, row: Mapping[str, Any]) -> Collapse | None:
        """Processes one line; lines without the values needed (events, other objectives) are ignored."""
        step, diversity = row["step"], row.get("G_diversity")
        if diversity is not None and self._alike.look(step, diversity < LEAST_DIVERSITY):
            return Collapse(
                step,
                self._alike.since,
                f"G's images are almost identical (G_diversity {diversity:.2g}: their spread relative to the reals', "
                f"below {LEAST_DIVERSITY:g})",
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
    """Detects collapse from one score (lower is better). best: the best earlier score, infinite if there is none."""
    if not 0 < best < math.inf or score <= SCORE_JUMP * best:
        return None
    return Collapse(step, -1, f"the score jumped to {score:.4g}, more than {SCORE_JUMP:g} times the best, {best:.4g}")
