"""Trains a run, from its configuration to its scores."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from steadygan._version import __version__
from steadygan.build import build_state, resolve
from steadygan.config import Config
from steadygan.data.images import free_memory
from steadygan.errors import Collapsed, LostProcess, UserError, command_line
from steadygan.estimate import fit_batch
from steadygan.kernels.compiled import building
from steadygan.machine import at_work, choose_precision
from steadygan.parallel.replicas import Replicas
from steadygan.runs.checkpoint import checkpoint_step, checkpoints, load_checkpoint
from steadygan.runs.directory import RunDirectory
from steadygan.runs.opening import Facts, NewRun, ResumedRun
from steadygan.runs.provenance import circumstances, config_digest
from steadygan.runs.reading import last_score
from steadygan.runs.status import Status
from steadygan.tasks.choice import task_of
from steadygan.tasks.critic import build_critic
from steadygan.tasks.images import Images, Notify
from steadygan.tasks.synthesis import fakes
from steadygan.trackers import clients as trackers
from steadygan.trackers.reporting import reporting as handed_on
from steadygan.training.clock import Clock
from steadygan.training.loop import Progress, Trainer
from steadygan.training.pace import Patience
from steadygan.training.state import TrainState
from steadygan.training.transfer import say_terms, start_from


@dataclass(frozen=True)
class Trained:
    """The outcome of a run.

    Attributes:
        path: the run directory.
        finished: whether the run reached its end.
        scores: the newest scores by name, with their protocol.
        grid: the newest sample grid, a PNG.
        translates: whether it is a translation.
    """

    path: Path
    finished: bool
    scores: dict[str, Any]
    grid: Path | None
    translates: bool = False


@building()
def train_run(
    config: Config | None,
    path: Path,
    *,
    overrides: Sequence[str] = (),
    replicas: Replicas | None = None,
    accept_config: bool = False,
    own_process: bool = False,
    on_load: Notify | None = None,
    on_ready: Callable[[TrainState, Images], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Trained:
    """Trains `config` in a new run directory, or resumes the run in it if `config` is None.

    In both cases, a run that was stopped before its first checkpoint restarts.

    Args:
        config: the configuration of a new run; None: resume.
        path: the run directory.
        overrides: settings to change when resuming.
        replicas: the training processes (`parallel.processes.joined`), all of which call this.
        accept_config: resume with a config.yaml that was edited.
        own_process: whether this process only trains; otherwise its settings are restored (`machine.at_work`).
        on_load: called with (done, total) while images are read.
        on_ready: called when everything is built.
        on_step: called after each step.
    """
    replicas = replicas or Replicas()
    opening = NewRun(path, config) if config is not None else ResumedRun(path, overrides, accept=accept_config)
    choice = ""
    with ExitStack() as stack:
        stack.callback(opening.close)
        with replicas.together():
            config = opening.open(resolve, write=replicas.first)
            train = config.train
            if replicas.first:
                trackers.check(train.report)
            device = stack.enter_context(
                at_work(
                    replicas.device_name(train.device),
                    tf32=train.tf32,
                    autotune=train.autotune,
                    threads=train.threads,
                    allocator=own_process,
                )
            )
            task = task_of(config)
            images = task.load(device, on_load)
            opening.check_images(images.train.fingerprint)
            if train.batch_size == "auto":
                task, choice = fit_batch(task, images.train, device, free_memory(device), replicas.size)
                config = task.config
            score, monitor = task.scorer(images, replicas), task.monitor(images)
        replicas.connect(device, train.collective_timeout)
        replicas.agree(
            {
                "version": f"{__version__} on torch {torch.__version__}",
                "configuration": config_digest(config.to_yaml()),
                "content of the images": images.train.fingerprint,
                "checkpoint to resume from": "none" if opening.checkpoint is None else opening.checkpoint.name,
                "precision": str(choose_precision(train.precision, device)),
            }
        )
        with replicas.together():
            state = build_state(task, images.train, device, replicas.share)
            torch.manual_seed(train.seed)  # for networks with noise inputs (StyleGAN2)
            origin: dict[str, Any] = {}
            if opening.checkpoint is not None:
                load_checkpoint(state, opening.checkpoint)
                say_terms(path, opening.checkpoint, {})
                refuse_ended(RunDirectory(path), config, state)
            elif train.init_from is not None:
                source = Path(train.init_from).expanduser()
                origin["init_from"] = start_from(state, source, monitor.generator, partial(build_critic, config.model))
            precision = str(state.execution.autocast or torch.float32).removeprefix("torch.")
            now = circumstances(device, replicas.size, f"{precision}; {state.execution.mode}")
            facts = Facts(state.step, images.facts(config.data.path), now, origin)
            run, notice = opening.begin(config, facts, write=replicas.first)
        replicas.copy_first(state.weights().values())
        replicas.helper = partial(fakes, state)
        status = Status(path, config.train.steps, state.step) if replicas.first else None
        with reporting(status):
            trainer = Trainer(config, state, run, monitor, score=score, replicas=replicas, status=status)
            if choice:
                trainer.recovery.notify(choice)
            if notice:
                trainer.recovery.notify(f"resumed on a machine where rounding may differ: {notice}")
            if on_ready is not None:
                on_ready(state, images)
            if replicas.first:
                stack.enter_context(handed_on(path, config.train.report, state.step))
            try:
                finished = trainer.fit(on_step)
            except LostProcess as lost:
                raise LostProcess(f"{lost}; {how_to_go_on(run)}") from lost
            if status is not None:
                status.step = state.step
                status.say("finished" if finished else "stopped")
    grids = sorted(run.samples.glob("step-*.png"))
    return Trained(path, finished, last_score(path), grids[-1] if grids else None, "directions" in monitor.generator)


@contextmanager
def reporting(status: Status | None) -> Iterator[None]:
    """Context manager: writes status.json when a run starts, and if it ends with an error."""
    if status is None:
        yield
        return
    status.say("starting")
    try:
        yield
    except Collapsed as error:
        status.say("collapsed", str(error))
        raise
    except UserError as error:
        status.say("failed", str(error))
        raise
    except Exception as error:
        status.say("failed", f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:  # a second Ctrl-C
        status.say("stopped", f"at once, by {type(error).__name__}")
        raise


def how_to_go_on(run: RunDirectory) -> str:
    """Advice after a process was lost."""
    found = checkpoints(run.checkpoints)
    if not found:
        return "there is no checkpoint yet: start it again with the same command"
    command = shlex.join(["steadygan", "train", str(run.path), "--resume"])
    return f"start any number of processes again with `… -m {command}`, from {found[-1].name}"


def refuse_run(source: str | Path) -> None:
    """Raises UserError if the source of a new run is a run directory; the message says how to resume it."""
    if (Path(source) / "config.yaml").is_file():
        raise UserError(
            f"{source} is a run directory: to train it further add --resume (in Python resume=True); to start another "
            f"run with its settings, name {Path(source) / 'config.yaml'} and a directory with --out"
        )


def refuse_ended(run: RunDirectory, config: Config, state: TrainState) -> None:
    """Raises UserError for a run that has used up its time or was ended by `eval.patience`."""
    metrics, scores = (
        [row for row in run.records(name) if row["step"] <= state.step] for name in ("metrics.jsonl", "scores.jsonl")
    )
    clock = Clock.of(config.train, metrics, state.seconds)
    if clock.budget is not None and clock.spent >= clock.budget:
        hours = 2 * clock.budget / 3600
        raise UserError(
            f"{run.path} has used up its time; to continue, raise train.hours, e.g. "
            f"`{command_line('train', run.path, '--resume', f'train.hours={hours:g}')}`"
        )
    best = run.best()
    patience = Patience.of(config.eval.patience, scores, checkpoint_step(best) if best else None)
    if patience.ended():
        more = f"eval.patience={2 * patience.worse}"
        raise UserError(
            f"{run.path} was ended by eval.patience={patience.limit}: its last {patience.worse} scores were no better "
            f"than the best; to continue, raise it, e.g. `{command_line('train', run.path, '--resume', more)}`, or set "
            "it to null"
        )
