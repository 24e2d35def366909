"""The training loop: steps, with records, grids and checkpoints at step boundaries."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.parallel.replicas import Replicas
from steadygan.runs.checkpoint import checkpoint_name, checkpoint_step, checkpoints
from steadygan.runs.directory import RunDirectory, Writer
from steadygan.runs.requests import Attention
from steadygan.runs.status import Status
from steadygan.schedules import value
from steadygan.training.clock import Clock
from steadygan.training.collapse import Collapse, score_jump
from steadygan.training.grids import draw_grid, name_weights
from steadygan.training.instruments import instability, json_number
from steadygan.training.monitor import Monitor
from steadygan.training.pace import Pace, Patience
from steadygan.training.recovery import Recovery
from steadygan.training.state import TrainState
from steadygan.training.step import train_step


@dataclass(frozen=True)
class Progress:
    """Progress of a run after a step, for a progress bar. `values` are those of the last logged step.

    Attributes:
        notice: a problem that was handled, in one line; empty if there is none.
        moment: progress as a step of `steps`, ahead of `step` if `train.hours` ends the run.
        grid: the newest sample grid of this process.
    """

    step: int
    steps: int
    images_per_s: float
    seconds_left: float
    values: Mapping[str, float]
    notice: str = ""
    moment: int = 0
    grid: Path | None = None


@dataclass
class Trainer:
    """One run: its state and its directory.

    Attributes:
        run: a `Writer` in the process that writes.
        status: the run's status file, written by that process.
        monitor: grids and instruments of this kind of run.
        score: scores the current averaged weights and returns a record and the value that ranks checkpoints (lower is
            better), or None without a protocol for this data.
        replicas: the processes that train together, each with a Trainer; rank 0 writes.
    """

    config: Config
    state: TrainState
    run: RunDirectory
    monitor: Monitor
    score: Callable[[TrainState], tuple[dict[str, Any], float]] | None = None
    replicas: Replicas = field(default_factory=Replicas)
    status: Status | None = None
    recovery: Recovery = field(init=False)
    clock: Clock = field(init=False)
    _pace: Pace = field(init=False)
    _patience: Patience = field(init=False)
    _grid: Path | None = field(init=False, default=None)
    _opening: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._attention = Attention(self.run.path)
        self.recovery = Recovery(self.config, self.state, self.run, self.replicas)
        self._pace = Pace.of(self.run.records("scores.jsonl"))
        self._patience = self._recorded_patience()
        self.clock = Clock.of(self.config.train, self.run.records("metrics.jsonl"), self.state.seconds)

    def fit(self, on_step: Callable[[Progress], None] | None = None) -> bool:
        """Trains until `train.steps`, `train.hours` or `eval.patience` is reached; returns True if it was.

        SIGINT, SIGTERM, SIGHUP or a stop request (`runs.requests`) end it earlier, with False.
        """
        config, state = self.config.train, self.state
        losses: dict[str, Tensor] = {}
        values: dict[str, float] = {}
        stopped, ended = False, self._no_longer_improves()
        speed = Speed(state.images)
        with interruptible(once=self.replicas.size > 1) as interrupted:
            if state.step == 0 and config.sample_first:
                with undisturbed(state.device):
                    self._sample()
                self._opening = self.clock.spent
            moment = self._moment()
            while moment < config.steps and not ended and not (stopped := self._stopped(interrupted)):
                began = time.perf_counter()
                self._follow_schedules(moment)
                losses.update(train_step(state))
                self.recovery.made_room()
                moment = self._moment()
                done = moment >= config.steps
                if done or state.step % config.log_every == 0:
                    row, values = self._log(losses, speed)
                    losses.clear()  # a lazy term is logged if it was live since the last line
                    if self.recovery.logged(row, values):
                        moment = self._rolled_back()
                        continue
                if done or self._grid_is_due():
                    with undisturbed(state.device):
                        self._sample()
                due = done or state.step % config.checkpoint_every == 0
                state.seconds += time.perf_counter() - began
                scored = self.score is not None and (done or self._score_is_due())
                if due or scored:
                    collapse = self.checkpoint(scored=scored)
                    if collapse is not None and not done and self.recovery.collapsed(collapse):
                        moment = self._rolled_back()
                        continue
                    ended = scored and self._no_longer_improves()
                    if ended:
                        worse = self._patience.worse
                        self.recovery.notify(f"the last {worse} scores were no better than the best: the run ends here")
                if on_step is not None:
                    on_step(self._progress(moment, speed.rate(state.images), values))
            if stopped and not self.replicas.lead(self._saved):
                self.checkpoint()
        return not stopped

    def _recorded_patience(self) -> Patience:
        best = self.run.best()
        scores = self.run.records("scores.jsonl")
        return Patience.of(self.config.eval.patience, scores, checkpoint_step(best) if best else None)

    def _rolled_back(self) -> int:
        """The run's progress after a rollback, which dropped the later scores."""
        self._patience = self._recorded_patience()
        return self._moment()

    def _no_longer_improves(self) -> bool:
        """Whether `eval.patience` has run out."""
        return self.config.eval.patience is not None and self.replicas.lead(self._patience.ended)

    def _moment(self) -> int:
        """The run's progress; with several processes, by the clock of rank 0. The first step is made in any case."""
        if self.clock.budget is None or self.state.step == 0:
            return self.state.step
        if self.score is not None and self.monitor.scores_itself:
            self.clock.reserve = self._pace.expected(self.clock.spent - self._opening, self.state.images)
        return self.replicas.lead(partial(self.clock.moment, self.state.step))

    def _progress(self, moment: int, rate: float, values: Mapping[str, float]) -> Progress:
        steps, step = self.config.train.steps, self.state.step
        left = (steps - step) * self.state.images / max(step, 1) / rate if rate else float("inf")
        if self.clock.budget is not None:
            left = min(left, max(0.0, self.clock.budget - self.clock.spent))
        return Progress(step, steps, rate, left, values, self.recovery.take_notice(), moment, self._grid)

    def _grid_is_due(self) -> bool:
        """At multiples of `train.sample_every`, and before the first of them at doublings of `train.sample_first`."""
        step, first, every = self.state.step, self.config.train.sample_first, self.config.train.sample_every
        if first and step < every and step % first == 0:
            doublings = step // first
            return doublings & (doublings - 1) == 0
        return step % every == 0

    def _score_is_due(self) -> bool:
        """At multiples of `eval.every`, else at log lines when the pace allows it.

        Translations are scored only on request: a score of a few pairs cannot rank checkpoints.
        """
        every, state = self.config.eval.every, self.state
        if every is not None:
            return every > 0 and state.step % every == 0
        if not self.monitor.scores_itself or state.step % self.config.train.log_every:
            return False
        return self.replicas.lead(partial(self._pace.due, state.seconds, state.images))

    def _stopped(self, interrupted: object) -> bool:
        """Whether a signal or a request ends the run here; blocks during a requested pause."""
        self._show_life()
        if not self.replicas.any(interrupted or (self.replicas.first and self._attention.called())):
            return False
        stops = partial(self._attention.stops, interrupted, self._show_life)
        with self.clock.halted():
            return self.replicas.any(interrupted) or self.replicas.lead(stops)

    def _show_life(self, paused: bool = False) -> None:
        if self.status is not None:
            self.status.beat(self.state.step, "paused" if paused else "running")

    def _follow_schedules(self, step: int) -> None:
        """Applies schedules of optimisers and augmentations for `step`, or for the clock."""
        optim = self.config.optim
        for player, section in (("G", optim.g), ("D", optim.d)):
            pace = self.state.objective.pace(player)
            rate = value(optim.rate(section, self.config.train.steps), step) * pace
            for group in self.state.optimizers[player].param_groups:
                group["betas"] = (value(section.beta1, step) ** pace, value(section.beta2, step) ** pace)
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        for part in self.state.adaptive:
            part.follow(step)

    def _log(self, losses: Mapping[str, Tensor], speed: Speed) -> tuple[dict[str, Any], dict[str, float]]:
        """Appends a line to metrics.jsonl; returns the line and its unrounded values."""
        state = self.state
        values = self.replicas.mean(losses)
        values |= self.monitor.probe(state, state.objective.loss.boundary)
        record: dict[str, Any] = {
            "step": state.step,
            "images": state.images,
            "seconds": round(state.seconds, 3),
            "images_per_s": round(speed.lap(state.images), 2),
            "skipped": int(state.skipped),
        }
        if self.clock.budget is not None:
            record["spent"] = round(self.clock.spent, 3)
        record |= {name: json_number(value) for name, value in values.items()}
        if self._instruments_are_due():
            record |= instability(state.nets)
        if isinstance(self.run, Writer):
            try:
                self.run.append("metrics.jsonl", record)
            except UserError:
                with suppress(UserError), undisturbed(state.device):
                    self.monitor.refresh_average(state)
                    self._save(scored=False)  # losing the line must not lose the steps since the last checkpoint
                raise
        return record, values

    def _instruments_are_due(self) -> bool:
        """Whether a multiple of `train.instruments_every` was reached since the last line."""
        every, log_every, step = self.config.train.instruments_every, self.config.train.log_every, self.state.step
        last = (step - 1) // log_every * log_every
        return every > 0 and step // every > last // every

    def _sample(self) -> None:
        self.monitor.refresh_average(self.state)
        self.replicas.lead(self._draw_grid)

    def _draw_grid(self) -> None:
        """Training continues if the grid cannot be written."""
        assert isinstance(self.run, Writer)
        try:
            self._grid = draw_grid(self.run, self.state, self.monitor)
        except UserError as error:
            self.recovery.notify(str(error))

    def _saved(self) -> bool:
        """Whether the newest checkpoint is of this step."""
        found = checkpoints(self.run.checkpoints)
        return bool(found) and found[-1].name == checkpoint_name(self.state.step)

    def checkpoint(self, *, scored: bool = False) -> Collapse | None:
        """Writes a checkpoint of this step, after scoring it if asked to; the best one is never deleted.

        Returns the collapse that the score shows, if any.
        """
        with undisturbed(self.state.device):
            self.monitor.refresh_average(self.state)
        said = self.replicas.lead(partial(self._save, scored))
        return None if said is None else Collapse(*said)

    def _save(self, scored: bool) -> tuple[int, int, str] | None:
        """Scores and saves; returns the fields of a `Collapse` if the score shows one."""
        assert isinstance(self.run, Writer)
        state, keep = self.state, self.config.train.keep_checkpoints
        record: dict[str, Any] | None = None
        best, collapse = False, None
        try:
            if scored and self.score is not None:
                began = time.perf_counter()
                with undisturbed(state.device):
                    scores, rank = self.score(state)
                took = round(time.perf_counter() - began, 3)
                self._pace.took(took)
                record = {"step": state.step, "eval_seconds": took, **scores}
                if self._patience.follow(record):
                    state.best_score = float("inf")
                    self.recovery.notify("scored by another protocol than before: the best checkpoint is chosen anew")
                best, collapse = rank < state.best_score, score_jump(state.step, rank, state.best_score)
                state.best_score = min(rank, state.best_score)
                self._patience.saw(best)
        finally:
            # A failed score must not lose the steps since the last checkpoint.
            saved = self.run.save(state, self.monitor.generator, keep=keep, record=record, best=best)
        try:
            name_weights(self.run, state.step, saved)
        except UserError as error:
            self.recovery.notify(str(error))
        return None if collapse is None else (collapse.step, collapse.since, collapse.symptom)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Context manager: restores torch's global generators, so that inspecting a run does not change its
    continuation."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


class Speed:
    """Images per second: since the last lap, and smoothed for a progress bar."""

    def __init__(self, images: int) -> None:
        self._start = self._lap = (time.perf_counter(), images)

    def rate(self, images: int) -> float:
        seconds = time.perf_counter() - self._start[0]
        return (images - self._start[1]) / seconds if seconds > 0 else 0.0

    def lap(self, images: int) -> float:
        now = time.perf_counter()
        seconds, count = now - self._lap[0], images - self._lap[1]
        self._lap = (now, images)
        return count / seconds if seconds > 0 else 0.0


class Flag:
    """False until raised."""

    def __init__(self) -> None:
        self.raised = False

    def __bool__(self) -> bool:
        return self.raised


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""The signals that end a run at a step boundary, where the system has them."""


@contextmanager
def interruptible(*, once: bool = False) -> Iterator[Flag]:
    """Context manager: a flag raised by the first of `SIGNALS`, which ends a run at a step boundary; the second signal
    acts immediately.

    once: ignore further signals; launchers and schedulers send several, then kill. SIGHUP never acts immediately, as a
    closed terminal sends several. Ignored signals stay ignored, as `nohup` requires for SIGHUP. Outside the main thread
    Python cannot catch signals, and the flag stays False.
    """
    flag = Flag()
    previous: dict[int, Any] = {}

    def catch(number: int, frame: FrameType | None) -> None:
        flag.raised = True
        if not once and number in _AT_ONCE:
            signal.signal(number, previous[number])

    try:
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                previous[int(number)] = signal.signal(number, catch)
    except ValueError:
        previous.clear()
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


_AT_ONCE = {int(signal.SIGINT), int(signal.SIGTERM)}
