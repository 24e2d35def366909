"""Recovery when training fails: roll back, stop with the best checkpoint kept, or continue."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from steadygan.config import Config
from steadygan.diagnosis.looking import not_looking
from steadygan.errors import Collapsed, UserError, command_line
from steadygan.parallel.replicas import Replicas
from steadygan.runs.checkpoint import checkpoint_step, checkpoints, load_checkpoint, mark_best
from steadygan.runs.directory import RunDirectory, Writer
from steadygan.training.collapse import Collapse, CollapseDetector
from steadygan.training.state import TrainState
from steadygan.training.watchdog import Watchdog

PATIENCE = 3
"""Maximum number of failed rollbacks to one checkpoint."""


@dataclass(frozen=True)
class Rollback:
    """A rollback to the checkpoint `target`, the `number`-th of the run.

    Attributes:
        skipped: count of skipped phases, which is kept.
    """

    target: Path
    number: int
    skipped: int
    reason: str


class Recovery:
    """Watches the logged values of a run and, if it diverges or collapses, changes its state and directory.

    Its memory is metrics.jsonl: a rollback is a line with `event`, the target `step`, the step it came `from`, its
    `number` in the run and the `reason`. notice: the last events in one line, until read. With several processes, rank
    0 decides for all.

    Args:
        config: the run's configuration.
        state: its state.
        run: its directory.
        replicas: the training processes; None: this one alone.
    """

    def __init__(self, config: Config, state: TrainState, run: RunDirectory, replicas: Replicas | None = None) -> None:
        self.config, self.state, self.run, self.replicas = config, state, run, replicas or Replicas()
        self.watchdog = Watchdog()
        self._notice = ""
        self.begin()

    def begin(self) -> None:
        """Restores symptoms and rollbacks from the directory; call it right after loading a checkpoint."""
        last = self.replicas.lead(self._remember)
        if last is not None and last["step"] == self.state.step:
            # Training from this checkpoint has failed: use other random numbers. Skipped phases stay counted.
            self.state.generator.manual_seed(self.config.train.seed + 1_000_003 * last["number"])
            self.state.skipped.fill_(last["skipped"])
        self.watchdog.begin(int(self.state.skipped), self.state.step)

    def _remember(self) -> dict[str, Any] | None:
        """Reads the log; returns the last rollback."""
        rows = self.run.records("metrics.jsonl")
        self._detector = CollapseDetector(self.state.objective.loss)
        for row in rows:
            self._detector.look(row)
        self._rows, self._unseen_since = rows, -1
        whole = [row for row in rows if type(row.get("number")) is int and type(row.get("skipped")) is int]
        self._go_on_in_parts()
        self._rollbacks = [row for row in whole if row.get("event") == "rollback"]
        return next(reversed(self._rollbacks), None)

    def _go_on_in_parts(self) -> None:
        """Keeps micro-batches that were reduced when memory ran out earlier in this run."""
        accumulate = self.config.train.accumulate
        events = [row for row in self._rows if row.get("event") == "memory" and row.get("configured") == accumulate]
        parts = events[-1].get("accumulate") if events else None
        if type(parts) is int and parts > accumulate and self.config.train.batch % parts == 0:
            self.state.execution.accumulate = parts

    def made_room(self) -> None:
        """Records smaller micro-batches after memory ran out."""
        events = self.state.execution.events
        for event in events:
            size = self.state.loader.batch_size // event["accumulate"]
            self.notify(
                f"out of memory in a phase of {event['player']} at step {event['step']}: continuing with micro-batches "
                f"of {size}, as with train.accumulate={event['accumulate']}; the batch is the same, statistics of "
                f"a batch are of {size} images"
            )
            self._record({**event, "configured": self.config.train.accumulate})
        events.clear()

    def take_notice(self) -> str:
        """Returns and clears the notices; empty if there are none."""
        notice, self._notice = self._notice, ""
        return notice

    def notify(self, text: str) -> None:
        """Adds a notice for the next report."""
        self._notice = f"{self._notice}; {text}" if self._notice else text

    def logged(self, row: Mapping[str, Any], values: Mapping[str, float]) -> bool:
        """Checks a logged line and its unrounded values; returns True if it rolled the run back."""
        return self._follow(self._led(partial(self._look, row, values)))

    def collapsed(self, collapse: Collapse) -> bool:
        """Applies `train.collapse`; returns True if it rolled the run back. Raises UserError to stop it.

        The best checkpoint is kept in any case: the one with the best score, or without scores the last one from before
        the collapse.
        """
        return self._follow(self._led(partial(self._judge, collapse)))

    def _led(self, decide: Callable[[], Rollback | None]) -> Rollback | None:
        """Broadcasts the decision of rank 0."""

        def plainly() -> tuple[str, int, int, str] | None:
            found = decide()
            return None if found is None else (str(found.target), found.number, found.skipped, found.reason)

        said = self.replicas.lead(plainly)
        return None if said is None else Rollback(Path(said[0]), *said[1:])

    def _look(self, row: Mapping[str, Any], values: Mapping[str, float]) -> Rollback | None:
        if self.watchdog.must_roll_back(int(self.state.skipped), self.state.step):
            culprits = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            reason = f"no longer finite is {culprits or 'the gradient'}, {int(self.state.skipped)} phases were skipped"
            return self._way_back(reason, next(reversed(checkpoints(self.run.checkpoints)), None))
        self._rows.append(dict(row))
        blind = not_looking(self._rows)
        if blind is not None and blind.since != self._unseen_since:
            self._unseen_since = blind.since
            self.notify(f"{blind.symptom}; {blind.remedy}")
        collapse = self._detector.look(row)
        return None if collapse is None else self._judge(collapse)

    def _judge(self, collapse: Collapse) -> Rollback | None:
        policy, healthy = self.config.train.collapse, self._healthy(collapse)
        if healthy is not None and self.run.best() is None:
            mark_best(healthy)
        if policy == "rollback":
            return self._way_back(collapse.symptom, healthy)
        event = {"event": "collapse", "since": collapse.since, "symptom": collapse.symptom, "policy": policy}
        self._record({"step": collapse.step, **event})
        if policy == "stop" and self.state.step < self.config.train.steps:
            raise Collapsed(
                f"training collapsed at step {collapse.step}: {collapse.symptom}{_lasting(collapse)}. {self._kept()}. "
                "Lower optim.d.lr or optim.g.lr, regularise D (objective.terms.r1, gp or bcr), or with few images "
                "augment what it sees (augment.diffaugment.policy). To continue nevertheless: "
                f"`{command_line('train', self.run.path, '--resume', 'train.collapse=rollback')}`, or continue"
            )
        self.notify(
            f"collapsed at step {collapse.step}: {collapse.symptom}; training continues (train.collapse={policy})"
        )
        return None

    def _healthy(self, collapse: Collapse) -> Path | None:
        """The newest checkpoint from before the symptom, or the best one if it is newer."""
        before = [path for path in checkpoints(self.run.checkpoints) if checkpoint_step(path) <= collapse.since]
        known = [path for path in (*before[-1:], self.run.best()) if path is not None]
        return max(known, key=checkpoint_step, default=None)

    def _kept(self) -> str:
        best = self.run.best()
        if best is None:
            return "There is no checkpoint from before it"
        score = self.state.best_score
        what = f"the best one, of score {score:.4g}," if math.isfinite(score) else "the last one from before"
        return f"{best} is {what} and stays; `{command_line('sample', self.run.path)}` takes it"

    def _way_back(self, reason: str, target: Path | None) -> Rollback:
        failed = [] if target is None else [row for row in self._rollbacks if row["step"] == checkpoint_step(target)]
        if target is None or len(failed) == PATIENCE:
            tried = f"{len(failed)} rollbacks did not help" if failed else "there is no checkpoint to go back to"
            raise UserError(
                f"training diverged at step {self.state.step}: {reason}, and {tried}; lower optim.g.lr and optim.d.lr, "
                "or add regularisation (r1, gp); a term of your own may be at fault"
            )
        number = 1 + max((row["number"] for row in self._rollbacks), default=0)
        return Rollback(target, number, int(self.state.skipped), reason)

    def _follow(self, rollback: Rollback | None) -> bool:
        """Performs a rollback, if any: deletes later checkpoints and records."""
        if rollback is None:
            return False
        state, step = self.state, self.state.step
        load_checkpoint(state, rollback.target)
        if isinstance(self.run, Writer):
            self.run.forget_after(state.step)
        event = {"event": "rollback", "from": step, "number": rollback.number, "skipped": rollback.skipped}
        self._record({"step": state.step, **event, "reason": rollback.reason})
        self.begin()
        self.notify(f"rolled back from step {step} to {state.step}: {rollback.reason}")
        return True

    def _record(self, row: Mapping[str, Any]) -> None:
        if isinstance(self.run, Writer):
            self.run.append("metrics.jsonl", row)


def _lasting(collapse: Collapse) -> str:
    if collapse.since < 0:
        return ""
    return f", in every line since step {collapse.since}" if collapse.since else ", in every line from the start"
