"""A run from its description to its scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from steadygan import config as configuration
from steadygan._version import __version__
from steadygan.build import build_state, resolve
from steadygan.config import Config
from steadygan.errors import LostProcess, UserError
from steadygan.kernels.compiled import building
from steadygan.machine import choose_device, choose_precision, prepare
from steadygan.parallel.replicas import Replicas
from steadygan.runs.checkpoint import checkpoints, load_checkpoint, read_manifest
from steadygan.runs.directory import Onlooker, RunDirectory
from steadygan.runs.provenance import check_same_data, provenance
from steadygan.runs.reading import last_score
from steadygan.tasks.choice import task_of
from steadygan.tasks.images import Images, Notify
from steadygan.tasks.synthesis import fakes
from steadygan.training.loop import Progress, Trainer
from steadygan.training.state import TrainState
from steadygan.training.transfer import start_from


@dataclass(frozen=True)
class Trained:
    """What a run left: its directory, whether it reached its last step, its newest scores and sample grid.

    translates: its generators make images of images.
    """

    path: Path
    finished: bool
    scores: dict[str, Any]
    grid: Path | None
    translates: bool = False


def open_run(
    path: Path, overrides: Sequence[str], kind: type[RunDirectory] = RunDirectory
) -> tuple[Config, RunDirectory]:
    """The configuration of an existing run, with overrides, and its directory, which a writer locks."""
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run directory: it has no config.yaml")
    config = resolve(configuration.load(path, overrides))
    run = kind(path)
    run.lock()
    run.tidy()
    return config, run


@building()
def train_run(
    config: Config | None,
    path: Path,
    *,
    overrides: Sequence[str] = (),
    replicas: Replicas | None = None,
    on_load: Notify | None = None,
    on_ready: Callable[[TrainState, Images], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Trained:
    """Trains `config` in a new run directory, or, without one, goes on with the run that is there.

    on_load(done, total) is called as images are read, on_ready when everything is built, on_step after each step.
    replicas: the processes that train together (`training.distributed.joined`), each of which calls this.
    """
    replicas = replicas or Replicas()
    with ExitStack() as stack:
        run: RunDirectory | None = None
        with replicas.together():
            if config is None:
                config, run = open_run(path, overrides, RunDirectory if replicas.first else Onlooker)
                stack.callback(run.close)
                checkpoint = run.newest_checkpoint()
                refuse_finished(path, config, int(read_manifest(checkpoint)["step"]))
            else:
                config = resolve(config)
                RunDirectory.refuse_existing(path)
            device = choose_device(replicas.device_name(config.train.device))
            prepare(device, tf32=config.train.tf32, autotune=config.train.autotune)
            task = task_of(config)
            images = task.load(device, on_load)
            score = task.scorer(images, replicas)
        assert config is not None
        replicas.connect(device, config.train.collective_timeout)
        replicas.agree(
            {
                "version": f"{__version__} on torch {torch.__version__}",
                "configuration": hashlib.sha256(config.to_yaml().encode()).hexdigest(),
                "content of the images": images.train.fingerprint,
                "checkpoint to go on from": checkpoint.name if run is not None else "none",
                "precision": str(choose_precision(config.train.precision, device)),
            }
        )
        with replicas.together():
            state, monitor = build_state(config, images.train, device, replicas.share), task.monitor(images)
            # What networks with inner noise (StyleGAN2) draw from while they train.
            torch.manual_seed(config.train.seed)
            if run is not None:
                check_same_data(path, images.train.fingerprint)
                load_checkpoint(state, checkpoint)
                run.forget_after(state.step)
                run.write_config(config.to_yaml())
            else:
                origin = provenance(
                    seed=config.train.seed,
                    config_sha256=hashlib.sha256(config.to_yaml().encode()).hexdigest(),
                    data=images.facts(config.data.path),
                    device=device,
                    processes=replicas.size,
                )
                if config.train.init_from is not None:
                    source = Path(config.train.init_from).expanduser()
                    origin["init_from"] = start_from(state, source, monitor.generator)
                kind = RunDirectory if replicas.first else Onlooker
                run = kind.create(path, config.to_yaml(), origin)
                stack.callback(run.close)
        assert run is not None
        replicas.copy_first(state.weights().values())
        replicas.helper = partial(fakes, state)
        trainer = Trainer(config, state, run, monitor, score=score, replicas=replicas)
        if on_ready is not None:
            on_ready(state, images)
        try:
            finished = trainer.fit(on_step)
        except LostProcess as lost:
            raise LostProcess(f"{lost}; {how_to_go_on(run)}") from lost
    grids = sorted(run.samples.glob("step-*.png"))
    return Trained(path, finished, last_score(path), grids[-1] if grids else None, "directions" in monitor.generator)


def how_to_go_on(run: RunDirectory) -> str:
    """What to do after a process was lost."""
    found = checkpoints(run.checkpoints)
    if not found:
        return f"there is no checkpoint yet: remove {run.path} and start again"
    return f"start as many as you like again with `… -m steadygan train {run.path} --resume`, from {found[-1].name}"


def refuse_finished(path: Path, config: Config, step: int) -> None:
    """A run that has taken all its steps has nothing to go on with."""
    if step >= config.train.steps:
        raise UserError(
            f"{path} has already reached step {step}; to go on, raise train.steps, e.g. "
            f"`steadygan train {path} --resume train.steps={2 * step}`"
        )
