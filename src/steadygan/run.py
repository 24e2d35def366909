"""A run from its description to its scores: what `steadygan train` and `steadygan evaluate` carry out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from steadygan import __version__
from steadygan import config as configuration
from steadygan.build import (
    Images,
    Notify,
    build_images,
    build_state,
    build_task,
    choose_device,
    choose_precision,
    provenance,
    resolve,
)
from steadygan.config import Config
from steadygan.data import ImageSet, PairSet
from steadygan.errors import LostProcess, UserError
from steadygan.machine import prepare
from steadygan.metrics import Protocol, headline, score
from steadygan.metrics.features import extractor_type
from steadygan.metrics.reading import read_lines
from steadygan.nets.sampling import sample
from steadygan.scoring import protocol_for, real_images
from steadygan.training.checkpoint import checkpoints, load_checkpoint, read_manifest
from steadygan.training.distributed import Replicas
from steadygan.training.loop import Progress, Trainer
from steadygan.training.rundir import Onlooker, RunDirectory
from steadygan.training.state import TrainState
from steadygan.training.step import train_step
from steadygan.training.transfer import start_from
from steadygan.translation import score_translation


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
            images = build_images(config, device, on_load)
            score = scorer(config, images, replicas)
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
            state, task = build_state(config, images.train, device, replicas.share), build_task(config, images)
            # What networks with inner noise (StyleGAN2) draw from while they train.
            torch.manual_seed(config.train.seed)
            if run is not None:
                check_same_data(path, images)
                load_checkpoint(state, checkpoint)
                run.forget_after(state.step)
                run.write_config(config.to_yaml())
            else:
                origin = provenance(config, images, device, replicas.size)
                if config.train.init_from is not None:
                    source = Path(config.train.init_from).expanduser()
                    origin["init_from"] = start_from(state, source, task.generator)
                kind = RunDirectory if replicas.first else Onlooker
                run = kind.create(path, config.to_yaml(), origin)
                stack.callback(run.close)
        assert run is not None
        replicas.copy_first(state.weights().values())
        replicas.helper = partial(fakes, state)
        trainer = Trainer(config, state, run, task, score=score, replicas=replicas)
        if on_ready is not None:
            on_ready(state, images)
        try:
            finished = trainer.fit(on_step)
        except LostProcess as lost:
            raise LostProcess(f"{lost}; {how_to_go_on(run)}") from lost
    grids = sorted(run.samples.glob("step-*.png"))
    return Trained(path, finished, last_score(path), grids[-1] if grids else None, config.data.domains is not None)


def seconds_per_step(state: TrainState, *, warm_up: int = 3, budget: float = 5.0) -> float:
    """The median time of a training step over about `budget` seconds, three steps at least; moves the state."""
    times: list[float] = []
    for step in range(warm_up + 100):
        began = time.perf_counter()
        values = train_step(state)
        sum(float(value) for value in values.values())  # waits for the device
        if step >= warm_up:
            times.append(time.perf_counter() - began)
        if len(times) >= 3 and sum(times) > budget:
            break
    return median(times)


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


def check_same_data(path: Path, images: Images) -> None:
    """Resuming on other images would silently be another experiment."""
    try:
        before = json.loads((path / "provenance.json").read_text(encoding="utf-8"))["data"]["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path / 'provenance.json'}: missing or damaged; the data cannot be checked") from error
    if before != images.train.fingerprint:
        raise UserError(
            f"the training images are not the ones {path} was started with (their content differs); "
            "point data.path to those, or start a new run with --out"
        )


def scorer(
    config: Config, images: Images, replicas: Replicas
) -> Callable[[TrainState], tuple[dict[str, Any], float]] | None:
    """What scores the averaged weights of this run in training, if anything can.

    Raises UserError at once when the weights of the protocol's extractor are absent, not after hours of training.
    """
    test = images.heldout
    if isinstance(images.train, PairSet):
        if not isinstance(test, PairSet) or not test.aligned:
            return None
        return lambda state: score_translation(state.ema.net, test, config)
    protocol = protocol_for(config, images)
    if protocol is None:
        return None
    extractor_type(protocol.extractor).find(None)
    reals = real_images(protocol, config, images)
    # The averaged weights have standing statistics when they are scored.
    protocol = replace(protocol, batch_norm="standing", num_fake=config.eval.num_fake or protocol.num_fake)
    return lambda state: score_state(state, images, reals, protocol, replicas)


def score_state(
    state: TrainState, images: Images, reals: ImageSet, protocol: Protocol, replicas: Replicas
) -> tuple[dict[str, Any], float]:
    """Scores the averaged generator of a run in training; touches nothing that training reads.

    With several processes the first calls this, inside `Replicas.lead`, and each makes its part of the fakes.
    """
    record = score(
        replicas.fakes,
        reals,
        None,
        protocol,
        classes=len(images.train.class_names) if state.prior.label_pool is not None else 0,
        fingerprint=images.train.fingerprint,
        device=state.device,
    )
    return record, headline(record)


def fakes(state: TrainState, num: int, labels: Tensor | None, seed: int, part: Tensor) -> Tensor:
    """Of `num` images by the averaged generator of a run in training those of these numbers."""
    return sample(state.ema.net, state.prior, num, labels=labels, seed=seed, part=part)


def last_score(path: Path) -> dict[str, Any]:
    """The newest record of a run's scores.jsonl, empty when there is none."""
    scores = path / "scores.jsonl"
    return next(reversed(read_lines(scores)), {}) if scores.is_file() else {}
