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
from steadygan.errors import UserError, nearest
from steadygan.machine import keep_freed_memory, set_tf32
from steadygan.metrics import EXTRACTORS
from steadygan.metrics.protocol import PROTOCOLS, Generate, Protocol, choose_protocol, score
from steadygan.metrics.reading import read_lines
from steadygan.nets.sampling import sample
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
        if protocol is not None and config.eval.num_fake is not None:
            protocol = replace(protocol, num_fake=config.eval.num_fake)
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
            score=None if protocol is None else lambda state: score_state(state, images, protocol),
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


def protocol_for(config: Config, images: Images) -> Protocol | None:
    """The protocol to score a run by: the one asked for, else the one made for the data, None when there is none."""
    name, train = config.eval.protocol or config.data.path, images.train
    if name not in PROTOCOLS:
        if config.eval.protocol is None:
            return None
        raise UserError(f"eval.protocol: unknown protocol {name!r}; {nearest(name, PROTOCOLS)}")
    try:
        protocol = choose_protocol(name, train.channels, train.size)
    except UserError:
        if config.eval.protocol is None:
            return None
        raise
    known = EXTRACTORS[protocol.extractor].classes
    if config.model.conditional and not protocol.per_channel and len(train.class_names) != known:
        raise UserError(
            f"eval.protocol={name} tells {known} classes apart, but {config.data.path} has {len(train.class_names)}; "
            "set eval.protocol=null"
        )
    return replace(protocol, batch_norm="standing")


def score_state(state: TrainState, images: Images, protocol: Protocol) -> tuple[dict[str, Any], float]:
    """Scores the averaged generator of a run in training; touches nothing that training reads."""

    def generate(num: int, labels: Tensor | None, seed: int) -> Tensor:
        return sample(state.ema.net, state.prior, num, labels=labels, seed=seed)

    record = score_generator(generate, images, protocol, classes=_classes(state, images))
    return record, record[f"FD-{protocol.extractor}"]


def score_generator(generate: Generate, images: Images, protocol: Protocol, *, classes: int) -> dict[str, Any]:
    """Scores any generator against the training images, by the protocol."""
    real = images.train
    if real.streamed:
        pixels = torch.cat([real.take(part).cpu() for part in torch.arange(len(real)).split(1024)])
    else:
        pixels = real.take(torch.arange(len(real))).cpu()
    labels = None if real.labels is None else real.labels.cpu()
    return score(generate, pixels, labels, protocol, classes=classes, fingerprint=real.fingerprint)


def _classes(state: TrainState, images: Images) -> int:
    return len(images.train.class_names) if state.prior.label_pool is not None else 0


def last_score(path: Path) -> dict[str, Any]:
    """The newest record of a run's scores.jsonl, empty when there is none."""
    scores = path / "scores.jsonl"
    return next(reversed(read_lines(scores)), {}) if scores.is_file() else {}
