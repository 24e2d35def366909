"""Builds a run from a configuration; the only module that turns descriptions into objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from steadygan.config import Config
from steadygan.data.free_memory import check_room
from steadygan.data.images import ImageSet, free_memory
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import check_single, has_batch_statistics
from steadygan.nets.registry import SET_BY, typed_options
from steadygan.nets.shape import WrongShape
from steadygan.objective.adversarial import find_loss
from steadygan.objective.composition import compose
from steadygan.objective.game import Game
from steadygan.objective.registry import PLACEMENTS, resolve_options
from steadygan.parallel.share import WHOLE, Share, stream
from steadygan.tasks.choice import Task, kind_of
from steadygan.training.ema import EMA
from steadygan.training.execution import build_execution
from steadygan.training.loss_scale import FullRange, LossScale
from steadygan.training.optimizers import adam
from steadygan.training.phases import Objective, phase_sizes
from steadygan.training.state import TrainState
from steadygan.transforms.pipeline import build_pipeline
from steadygan.transforms.registry import transform_options

LARGE = 256
"""Width, image size and latent dimension above which a network's size is checked before it is built."""


def resolve(config: Config) -> Config:
    """Fills in all options of a configuration's terms, transforms and networks."""
    kind_of(config)  # a family that does not fit the data is reported before its options are
    objective = config.objective.model_copy(update={"terms": resolve_options(config.objective.terms)})
    augment = config.augment.model_copy(update={"transforms": transform_options(config.augment.transforms)})
    kind = config.model.kind  # import custom modules here, before a checkpoint may name them
    options = {
        "generator": typed_options("generator", kind, config.model.generator),
        "critic": typed_options("critic", kind, config.model.critic),
    }
    model = config.model.model_copy(update=options)
    return config.model_copy(update={"objective": objective, "augment": augment, "model": model})


def build_state(task: Task, images: ImageSet | PairSet, device: torch.device, share: Share = WHOLE) -> TrainState:
    """Builds the state of a run before its first step.

    Args:
        task: the kind of run, with its resolved configuration.
        images: the training images.
        device: the device that trains.
        share: this process's part of every batch.
    """
    config = task.config
    train, augment = config.train, config.augment
    loader, description = task.loader(images, share), task.describe(images)
    _check_room(task, description, device)
    nets = build_nets(task, description)
    players = {player: tuple(name for name in nets if name.startswith(player)) for player in ("D", "G")}
    sides = {player: nets.get(player) or _together(nets, names) for player, names in players.items()}
    prior = Prior(config.model.latent, config.model.prior, task.labels(images, description["classes"], device))
    loss = find_loss(config.objective.loss)
    pipeline = build_pipeline(augment, batch=train.batch, images=config.model.critic.get("images", 1))
    game = Game.of(pipeline.consistency, loss=loss, pre_d=pipeline.pre_d, nets=nets, prior=prior)
    terms = compose(game, pipeline, config.objective.terms, task.games)
    objective = Objective(
        players=players,
        terms=terms,
        loss=loss,
        phases=train.phases,
        prior=prior,
        pre_d=pipeline.pre_d,
        pre_d_on=PLACEMENTS[augment.diffaugment.placement],
        joint=not has_batch_statistics(sides["D"]),
        frozen=task.frozen(nets),
        sizes=phase_sizes(train, terms, share),
        lazy_apart=config.optim.lazy == "apart",
    )
    if share.size == 1 and min([train.batch, *objective.sizes.values()]) == train.accumulate:
        for net in nets.values():
            check_single(net)
    generator = stream(device, share).manual_seed(train.seed)
    execution = build_execution(train, nets, terms, generator)
    recorded, half = execution.graphs is not None, execution.autocast is torch.float16
    sections = {"D": config.optim.d, "G": config.optim.g}
    return TrainState(
        nets=nets,
        objective=objective,
        execution=execution,
        optimizers={
            player: adam(sides[player], section, pace=objective.pace(player), recorded=recorded)
            for player, section in sections.items()
        },
        loader=loader,
        generator=generator,
        # When fine-tuning, the average starts from the source's.
        ema=EMA(sides["G"], start=0 if train.init_from else train.ema.start, half_life=train.ema.half_life),
        averaged=sides["G"],
        skipped=torch.zeros((), dtype=torch.int64, device=device),
        scales={player: LossScale() if half else FullRange() for player in players},
    )


def _check_room(task: Task, description: Mapping[str, Any], device: torch.device) -> None:
    """Raises UserError if the networks' weights do not fit in memory, as the system would kill the process."""
    model = task.config.model
    if (
        max(model.width, model.critic.get("width") or 0) <= LARGE
        and max(model.latent, description["size"]) <= 8 * LARGE
    ):
        return
    with torch.device("meta"):  # shapes without numbers
        nets = build_nets(task, description)
    number = sum(parameter.numel() for net in nets.values() for parameter in net.parameters())
    remedy = "lower model.width, model.latent or data.size"
    check_room(4 * number, f"networks of {number:,} parameters", remedy)
    # With gradients and Adam's two moments.
    what = f"training networks of {number:,} parameters (with gradients and Adam)"
    check_room(16 * number, what, remedy, free_memory(device))


def build_nets(task: Task, description: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Builds the networks with initial weights that depend only on `train.seed`. description: see `Task.describe`.

    Raises:
        UserError: the networks do not exist for these settings; the message names the key.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.config.train.seed)
        try:
            return task.networks(description)
        except WrongShape as error:
            kind = task.config.model.kind
            raise UserError(f"{SET_BY[error.field]} {error.reason} (model.kind={kind})") from error


def _together(nets: Mapping[str, nn.Module], names: Iterable[str]) -> nn.Module:
    return nn.ModuleDict({name: nets[name] for name in names})
