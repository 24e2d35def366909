"""The training loop: steps, and what is written at their boundaries."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from steadygan.config import Config
from steadygan.data import ImageSet, to_float
from steadygan.data.grid import save_grid
from steadygan.errors import UserError
from steadygan.nets.sampling import choose_labels, sample, standing_statistics
from steadygan.objective import LOSSES
from steadygan.training.checkpoint import checkpoint_name, checkpoints, load_checkpoint, save_checkpoint
from steadygan.training.rundir import RunDirectory
from steadygan.training.state import TrainState
from steadygan.training.step import train_step
from steadygan.training.watchdog import Watchdog

PROBE_IMAGES = 256
"""How many training and held-out images D's accuracy is read from."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a step: for a progress bar. `values` are those of the last logged step."""

    step: int
    steps: int
    images_per_s: float
    seconds_left: float
    values: Mapping[str, float]


@dataclass
class Trainer:
    """One run: a state that moves, a directory that remembers.

    train, heldout: the real images; generator: what a checkpoint says of its generator (plain JSON values);
    score: scores the averaged generator as it stands, returning one record and the value to rank checkpoints by
    (lower is better), or None when there is no protocol for this data.
    """

    config: Config
    state: TrainState
    run: RunDirectory
    train: ImageSet
    heldout: ImageSet | None
    generator: Mapping[str, Any]
    score: Callable[[TrainState], tuple[dict[str, Any], float]] | None = None
    watchdog: Watchdog = field(default_factory=Watchdog)

    def fit(self, on_step: Callable[[Progress], None] | None = None) -> bool:
        """Trains to `train.steps`; true when it got there, false when SIGINT or SIGTERM ended it at a checkpoint."""
        config, state = self.config.train, self.state
        losses: dict[str, Tensor] = {}
        values: dict[str, float] = {}
        speed = Speed(state.images)
        self.watchdog.begin(int(state.skipped), state.step)
        with interruptible() as interrupted, closing(self.run):
            while state.step < config.steps and not interrupted:
                began = time.perf_counter()
                self._set_learning_rates()
                losses.update(train_step(state))
                done = state.step == config.steps
                if done or state.step % config.log_every == 0:
                    values = self._log(losses, speed)
                    losses.clear()  # a lazy term reports if it was live since the last line
                    if self.watchdog.must_roll_back(int(state.skipped), state.step):
                        self._roll_back([name for name, value in values.items() if not math.isfinite(value)])
                        continue
                if done or state.step % config.sample_every == 0:
                    self._sample()
                due = done or state.step % config.checkpoint_every == 0
                scored = self.score is not None and (
                    done or (self.config.eval.every and state.step % self.config.eval.every == 0)
                )
                state.seconds += time.perf_counter() - began
                if due or scored:
                    self.checkpoint(scored=bool(scored))
                if on_step is not None:
                    rate = speed.rate(state.images)
                    per_step = state.images / max(state.step, 1)
                    left = (config.steps - state.step) * per_step / rate if rate else float("inf")
                    on_step(Progress(state.step, config.steps, rate, left, values))
            if state.step < config.steps and interrupted and not self._saved():
                self.checkpoint()
        return state.step >= config.steps

    def _set_learning_rates(self) -> None:
        optim, steps = self.config.optim, self.config.train.steps
        factor = 1.0
        if optim.schedule == "linear":
            factor = min(1.0, (steps - self.state.step) / max(1, steps - optim.decay_from))
        for player, section in (("G", optim.g), ("D", optim.d)):
            for group in self.state.optimizers[player].param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(section.lr * factor)
                else:
                    group["lr"] = section.lr * factor

    def _log(self, losses: Mapping[str, Tensor], speed: Speed) -> dict[str, float]:
        state = self.state
        values = {name: float(value) for name, value in losses.items()}
        values |= self._accuracy()
        record = {
            "step": state.step,
            "images": state.images,
            "seconds": round(state.seconds, 3),
            "images_per_s": round(speed.lap(state.images), 2),
            "skipped": int(state.skipped),
        }
        self.run.append("metrics.jsonl", record | {name: _json_number(value) for name, value in values.items()})
        return values

    @torch.no_grad()
    def _accuracy(self) -> dict[str, float]:
        """The share of real images that D takes for real, among those it trains on and those it has never seen.

        A gap between the two is D memorising its data (Zhao et al., DiffAugment, NeurIPS 2020, Fig. 1).
        """
        boundary = LOSSES[self.config.objective.loss].boundary
        if boundary is None:
            return {}
        conditional = self.state.prior.label_pool is not None
        accuracy = {}
        for name, images in (("train", self.train), ("heldout", self.heldout)):
            if images is not None and len(images):
                index = torch.arange(min(PROBE_IMAGES, len(images)))
                y = images.labels[index.to(images.labels.device)] if conditional and images.labels is not None else None
                logit = self.state.nets["D"](to_float(images.take(index)), y).logit
                accuracy[f"D_accuracy_{name}"] = float((logit > boundary).float().mean())
        return accuracy

    def refresh_average(self) -> None:
        """Gathers the averaged generator's batch-norm statistics for the weights it has now."""
        standing_statistics(self.state.ema.net, self.state.prior)

    def _sample(self) -> None:
        self.refresh_average()
        classes = self.generator["classes"]
        columns = min(classes, 10) if classes else 8
        labels = choose_labels(columns * 8, list(range(columns)) if classes else None, classes)
        images = sample(self.state.ema.net, self.state.prior, columns * 8, labels=labels, seed=self.config.train.seed)
        save_grid(images, self.run.samples / f"step-{self.state.step:08d}.png", columns)

    def _saved(self) -> bool:
        """Whether the newest checkpoint is of this very step."""
        found = checkpoints(self.run.checkpoints)
        return bool(found) and found[-1].name == checkpoint_name(self.state.step)

    def checkpoint(self, *, scored: bool = False) -> Path:
        """Writes a checkpoint of this step, after scoring it if asked to; the best one so far is kept for good."""
        state = self.state
        self.refresh_average()
        best = False
        try:
            if scored and self.score is not None:
                record, rank = self.score(state)
                self.run.append("scores.jsonl", {"step": state.step, **record})
                best = rank < state.best_score
                state.best_score = min(rank, state.best_score)
        finally:
            # A score that fails must not cost the steps since the last checkpoint.
            path = save_checkpoint(state, self.run.checkpoints, self.generator, keep=self.config.train.keep_checkpoints)
        if best:
            self.run.mark_best(path)
        return path

    def _roll_back(self, culprits: Sequence[str]) -> None:
        """Back to the last checkpoint, with other random numbers from there on; what was skipped stays counted."""
        step, skipped = self.state.step, int(self.state.skipped)
        if not checkpoints(self.run.checkpoints) or self.watchdog.rollbacks == self.watchdog.patience:
            raise UserError(
                f"training diverged at step {step}: no longer finite is {', '.join(culprits) or 'the gradient'}, "
                f"{skipped} phases were skipped, and {self.watchdog.rollbacks} rollbacks did not help; lower "
                "optim.g.lr and optim.d.lr, or add regularisation (r1, gp); a term of your own may be at fault"
            )
        load_checkpoint(self.state, self.run.newest_checkpoint())
        self.state.skipped.fill_(skipped)
        self.watchdog.rolled_back(skipped, self.state.step)
        self.state.generator.manual_seed(self.config.train.seed + 1_000_003 * self.watchdog.rollbacks)
        self.run.forget_after(self.state.step)


class Speed:
    """Images per second: over the time since the last lap, and smoothed for a progress bar."""

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


@contextmanager
def interruptible() -> Iterator[Flag]:
    """A flag that the first SIGINT or SIGTERM raises, so that a run ends at a step boundary; the second acts at once.

    Outside the main thread, where Python cannot catch signals, the flag stays down.
    """
    flag = Flag()
    previous: dict[int, Any] = {}

    def catch(number: int, frame: FrameType | None) -> None:
        flag.raised = True
        signal.signal(number, previous[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            previous[number] = signal.signal(number, catch)
    except ValueError:
        previous.clear()
    try:
        yield flag
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _json_number(value: float) -> float | None:
    """JSON has no NaN or infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
