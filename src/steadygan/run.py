"""A run from its description to its scores: what `steadygan train` and `steadygan evaluate` carry out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from steadygan import config as configuration
from steadygan.build import (
    Images,
    Notify,
    build_images,
    build_state,
    choose_device,
    describe_generator,
    provenance,
    resolve,
)
from steadygan.config import Config
from steadygan.data import ImageSet
from steadygan.errors import UserError
from steadygan.machine import keep_freed_memory, set_tf32
from steadygan.metrics import Protocol, headline, score
from steadygan.metrics.compare import read_lines
from steadygan.metrics.features_registry import extractor_type
from steadygan.nets.sampling import sample
from steadygan.scoring import protocol_for, real_images
from steadygan.training.checkpoint import load_checkpoint, read_manifest
from steadygan.training.loop import Progress, Trainer
from steadygan.training.rundir import RunDirectory
from steadygan.training.state import TrainState
from steadygan.training.step import train_step


@dataclass(frozen=True)
class Trained:
    """What a run left: its directory, whether it reached its last step, its newest scores and sample grid."""

    path: Path
    finished: bool
    scores: dict[str, Any]
    grid: Path | None


def open_run(path: Path, overrides: Sequence[str]) -> tuple[Config, RunDirectory]:
    """The configuration of an existing run, with overrides, and its locked directory."""
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run directory: it has no config.yaml")
    config = resolve(configuration.load(path, overrides))
    run = RunDirectory(path)
    run.lock()
    run.tidy()
    return config, run


def train_run(
    config: Config | None,
    path: Path,
    *,
    overrides: Sequence[str] = (),
    on_load: Notify | None = None,
    on_ready: Callable[[TrainState, Images], None] | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Trained:
    """Trains `config` in a new run directory, or, without one, goes on with the run that is there.

    on_load(done, total) is called as images are read, on_ready when everything is built, on_step after each step.
    """
    with ExitStack() as stack:
        run = None
        if config is None:
            config, run = open_run(path, overrides)
            stack.callback(run.close)
            checkpoint = run.newest_checkpoint()
            refuse_finished(path, config, int(read_manifest(checkpoint)["step"]))
        else:
            config = resolve(config)
            RunDirectory.refuse_existing(path)
        device = choose_device(config.train.device)
        if device.type == "cpu":
            keep_freed_memory()
        if device.type == "cuda":
            set_tf32(config.train.tf32)
        images = build_images(config, device, on_load)
        protocol = protocol_for(config, images)
        score_now = None if protocol is None else scorer(images, real_images(protocol, config, images), protocol)
        state = build_state(config, images.train, device)
        torch.manual_seed(config.train.seed)  # what networks with inner noise (StyleGAN2) draw from while they train
        if run is None:
            run = RunDirectory.create(path, config.to_yaml(), provenance(config, images, device))
            stack.callback(run.close)
        else:
            check_same_data(path, images)
            load_checkpoint(state, checkpoint)
            run.forget_after(state.step)
            run.write_config(config.to_yaml())
        trainer = Trainer(
            config,
            state,
            run,
            images.train,
            images.heldout,
            describe_generator(config, images.train),
            score=score_now,
        )
        if on_ready is not None:
            on_ready(state, images)
        finished = trainer.fit(on_step)
    grids = sorted(run.samples.glob("step-*.png"))
    return Trained(path, finished, last_score(path), grids[-1] if grids else None)


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


def scorer(images: Images, reals: ImageSet, protocol: Protocol) -> Callable[[TrainState], tuple[dict[str, Any], float]]:
    """`score_state` of a run's images and protocol.

    Raises UserError at once when the weights of the protocol's extractor are absent, not after hours of training.
    """
    extractor_type(protocol.extractor).find(None)
    protocol = replace(protocol, batch_norm="standing")  # what the averaged weights have when they are scored
    return lambda state: score_state(state, images, reals, protocol)


def score_state(state: TrainState, images: Images, reals: ImageSet, protocol: Protocol) -> tuple[dict[str, Any], float]:
    """Scores the averaged generator of a run in training; touches nothing that training reads."""

    def generate(num: int, labels: Tensor | None, seed: int, part: slice) -> Tensor:
        return sample(state.ema.net, state.prior, num, labels=labels, seed=seed, part=part)

    record = score(
        generate,
        reals,
        None,
        protocol,
        classes=_classes(state, images),
        fingerprint=images.train.fingerprint,
        device=state.device,
    )
    return record, headline(record)


def _classes(state: TrainState, images: Images) -> int:
    return len(images.train.class_names) if state.prior.label_pool is not None else 0


def last_score(path: Path) -> dict[str, Any]:
    """The newest record of a run's scores.jsonl, empty when there is none."""
    scores = path / "scores.jsonl"
    return next(reversed(read_lines(scores)), {}) if scores.is_file() else {}
