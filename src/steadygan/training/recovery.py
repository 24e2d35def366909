"""What is done when training goes wrong by itself: rolling back, stopping with the best checkpoint kept, going on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.training.checkpoint import checkpoint_step, checkpoints, load_checkpoint
from steadygan.training.collapse import Collapse, CollapseDetector
from steadygan.training.rundir import RunDirectory
from steadygan.training.state import TrainState
from steadygan.training.watchdog import Watchdog

PATIENCE = 3
"""How many rollbacks to one checkpoint may fail."""


class Recovery:
    """Watches one run, by what is logged, and acts on its state and its directory.

    Everything it remembers is in metrics.jsonl: a rollback is a line with `event`, the `step` it went back to, the step
    it came `from`, its `number` in the run and the `reason`. notice: what happened last, in one line, until taken.
    """

    def __init__(self, config: Config, state: TrainState, run: RunDirectory) -> None:
        self.config, self.state, self.run = config, state, run
        self.watchdog = Watchdog()
        self.begin()
        self._notice = ""

    def begin(self) -> None:
        """Goes on from what the directory remembers of symptoms and rollbacks, right after a checkpoint was loaded."""
        state, rows = self.state, self.run.records("metrics.jsonl")
        self._detector = CollapseDetector(self.config.objective.loss)
        for row in rows:
            self._detector.look(row)
        self._rollbacks = [row for row in rows if row.get("event") == "rollback"]
        if self._rollbacks and self._rollbacks[-1]["step"] == state.step:
            # What follows this checkpoint has failed: other random numbers from here on. What was skipped is counted.
            state.generator.manual_seed(self.config.train.seed + 1_000_003 * self._rollbacks[-1]["number"])
            state.skipped.fill_(self._rollbacks[-1]["skipped"])
        self.watchdog.begin(int(state.skipped), state.step)

    def take_notice(self) -> str:
        """What has happened since the last call, empty when nothing has."""
        notice, self._notice = self._notice, ""
        return notice

    def logged(self, row: Mapping[str, Any], values: Mapping[str, float]) -> bool:
        """Looks at a line that was logged and at the unrounded values in it; true when it rolled the run back."""
        if self.watchdog.must_roll_back(int(self.state.skipped), self.state.step):
            culprits = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            reason = f"no longer finite is {culprits or 'the gradient'}, {int(self.state.skipped)} phases were skipped"
            self._roll_back(reason, next(reversed(checkpoints(self.run.checkpoints)), None))
            return True
        collapse = self._detector.look(row)
        return collapse is not None and self.collapsed(collapse)

    def collapsed(self, collapse: Collapse) -> bool:
        """Does as `train.collapse` says; true when it rolled the run back. Raises UserError to stop it.

        Whatever it says, the best checkpoint stays: the one with the best score, or without scores the last from before
        the collapse.
        """
        policy, healthy = self.config.train.collapse, self._healthy(collapse)
        if healthy is not None and self.run.best() is None:
            self.run.mark_best(healthy)
        if policy == "rollback":
            self._roll_back(collapse.symptom, healthy)
            return True
        event = {"event": "collapse", "since": collapse.since, "symptom": collapse.symptom, "policy": policy}
        self.run.append("metrics.jsonl", {"step": collapse.step, **event})
        if policy == "stop" and self.state.step < self.config.train.steps:
            raise UserError(
                f"training collapsed at step {collapse.step}: {collapse.symptom}{_lasting(collapse)}. {self._kept()}. "
                "Lower optim.d.lr or optim.g.lr, regularise D (objective.terms.r1, gp or bcr), or with few images "
                "augment what it sees (augment.diffaugment.policy). To go on all the same: "
                f"`steadygan train {self.run.path} --resume train.collapse=rollback`, or continue"
            )
        self._notice = f"collapsed at step {collapse.step}: {collapse.symptom}; going on (train.collapse={policy})"
        return False

    def _healthy(self, collapse: Collapse) -> Path | None:
        """The newest checkpoint from before the symptom, or the best one if that is newer."""
        before = [path for path in checkpoints(self.run.checkpoints) if checkpoint_step(path) <= collapse.since]
        known = [path for path in (*before[-1:], self.run.best()) if path is not None]
        return max(known, key=checkpoint_step, default=None)

    def _kept(self) -> str:
        best = self.run.best()
        if best is None:
            return "There is no checkpoint from before it"
        score = self.state.best_score
        what = f"the best one, of score {score:.4g}," if math.isfinite(score) else "the last one from before"
        return f"{best} is {what} and stays; `steadygan sample {self.run.path}` takes it"

    def _roll_back(self, reason: str, target: Path | None) -> None:
        """Back to a checkpoint; those that came after it are removed with everything recorded since."""
        state, step = self.state, self.state.step
        failed = [] if target is None else [row for row in self._rollbacks if row["step"] == checkpoint_step(target)]
        if target is None or len(failed) == PATIENCE:
            tried = f"{len(failed)} rollbacks did not help" if failed else "there is no checkpoint to go back to"
            raise UserError(
                f"training diverged at step {step}: {reason}, and {tried}; lower optim.g.lr and optim.d.lr, or add "
                "regularisation (r1, gp); a term of your own may be at fault"
            )
        number, skipped = 1 + max((row["number"] for row in self._rollbacks), default=0), int(state.skipped)
        load_checkpoint(state, target)
        self.run.forget_after(state.step)
        event = {"event": "rollback", "from": step, "number": number, "skipped": skipped, "reason": reason}
        self.run.append("metrics.jsonl", {"step": state.step, **event})
        self.begin()
        self._notice = f"rolled back from step {step} to {state.step}: {reason}"


def _lasting(collapse: Collapse) -> str:
    if collapse.since < 0:
        return ""
    return f", in every line since step {collapse.since}" if collapse.since else ", in every line from the start"
