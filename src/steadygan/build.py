"""Turns a description into objects. Nothing else does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from steadygan.config import Config, PlayerConfig, TrainConfig
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.description import build_generator
from steadygan.generators.prior import Prior
from steadygan.kernels.winograd.layer import set_winograd
from steadygan.kernels.winograd.native import obstacle
from steadygan.machine import choose_precision
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.recompute import set_recompute
from steadygan.nets.registry import build_network, typed_options
from steadygan.nets.resample import set_folding
from steadygan.nets.shape import Shape
from steadygan.objective.adaptive import deceived, watch
from steadygan.objective.adversarial import AdversarialLoss, find_loss
from steadygan.objective.batch import Transform, walk
from steadygan.objective.game import Game
from steadygan.objective.registry import PLACEMENTS, build_terms, refuse_twice, resolve_options
from steadygan.objective.terms import Term
from steadygan.objective.views import Real
from steadygan.parallel.share import WHOLE, Share, Sharing, share_of, stream
from steadygan.pretrained.critic import FeatureCritic
from steadygan.schedules import value
from steadygan.tasks.choice import task_of
from steadygan.training.ema import EMA
from steadygan.training.graphs import Graphs, choose_mode, cuda_capture
from steadygan.training.loss_scale import FullRange, LossScale
from steadygan.training.state import Execution, Objective, TrainState
from steadygan.transforms.ada import ADA, strengths
from steadygan.transforms.adaptive import Adaptive, Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment
from steadygan.transforms.registry import build_transforms, transform_options


def resolve(config: Config) -> Config:
    """The same configuration with every option of every term written out, once it fits the kind of run it describes."""
    task_of(config).check()
    objective = config.objective.model_copy(update={"terms": resolve_options(config.objective.terms)})
    augment = config.augment.model_copy(update={"transforms": transform_options(config.augment.transforms)})
    kind = config.model.kind  # a module of the user's own is imported here, before a checkpoint may name it
    options = {
        "generator": typed_options("generator", kind, config.model.generator),
        "critic": typed_options("critic", kind, config.model.critic),
    }
    model = config.model.model_copy(update=options)
    return config.model_copy(update={"objective": objective, "augment": augment, "model": model})


def build_nets(config: Config, description: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks with their initial weights, a function of `train.seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        generator, _ = build_generator(description)
        return task_of(config).networks(generator, partial(build_critic, config, description))


def build_critic(config: Config, description: Mapping[str, Any]) -> nn.Module:
    """This configuration's discriminator of what a generator of that description makes."""
    model, options = config.model, dict(config.model.critic)
    width = options.pop("width", description["width"])
    shape = Shape(description["size"], description["channels"], description["classes"], width=width)
    net = build_network("critic", model.kind, shape, options)
    return net if model.features is None else FeatureCritic(shape, net, model.features)


def build_controllers(config: Config) -> dict[str, Controller]:
    """The controllers of the adaptive augmentations that are on, by name."""
    augment, batch_size = config.augment, config.train.batch
    on = {name: section for name, section in (("ada", augment.ada), ("apa", augment.apa)) if section is not None}
    if "ada" in on and augment.diffaugment.placement != "both":
        raise UserError(
            "augment.ada: augment.diffaugment.placement is an ablation of DiffAugment alone; set it to both"
        )
    return {
        name: Controller(target=section.target, kimg=section.kimg, interval=section.every * batch_size, p=section.p)
        for name, section in on.items()
    }


def build_pre_d(config: Config, controller: Controller | None, own: Iterable[Transform] = ()) -> Transform | None:
    """What everything D sees passes through: DiffAugment, then ADA, then the user's own; None when there is nothing."""
    policy, ada = config.augment.diffaugment.policy, config.augment.ada
    stages: list[Transform] = [DiffAugment(policy, config.model.critic.get("images", 1))] if policy else []
    if ada is not None and controller is not None:
        stages.append(ADA(controller, strengths(ada.ops)))
    stages.extend(own)
    return Chain(tuple(stages)) if len(stages) > 1 else stages[0] if stages else None


def build_terms_and_transforms(
    config: Config, loss: AdversarialLoss, nets: Mapping[str, nn.Module], prior: Prior
) -> tuple[tuple[Term, ...], Transform | None]:
    """The objective: the terms of both players and the augmentation of everything D sees."""
    consistency = Consistency(**config.augment.consistency.model_dump())
    active = consistency.flip or consistency.shift or consistency.cutout
    controllers = build_controllers(config)
    own = build_transforms(config.augment.transforms)
    pre_d = build_pre_d(config, controllers.get("ada"), own.values())
    game = Game.of(consistency if active else None, loss=loss, pre_d=pre_d, nets=nets, prior=prior)
    if "apa" in controllers:
        game = deceived(game, controllers["apa"])
    terms = build_terms(*task_of(config).games(game), terms=config.objective.terms)
    watched = [term for name, steers in controllers.items() for term in watch(terms, loss, name, steers)]
    for name, transform in own.items():
        if isinstance(transform, Adaptive):
            key = f"transforms.{name}"
            watched += watch(terms, loss, name.rpartition(":")[2], transform, key=key)
    return refuse_twice((*terms, *watched)), pre_d


def prepare_nets(config: Config, nets: Mapping[str, nn.Module], device: torch.device) -> str:
    """Moves the networks to the device and sets how they compute; returns how they convolve, in words."""
    train = config.train
    memory_format = torch.channels_last if train.channels_last else torch.contiguous_format
    for net in nets.values():
        net.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        set_folding(net, train.fold)
    if train.recompute and not sum(set_recompute(net, True) for net in nets.values()):
        raise UserError(f"train.recompute: {config.model.kind} is not made of blocks; set it to false")
    return choose_convolutions(train, device, nets.values())


def build_execution(
    config: Config, nets: Mapping[str, nn.Module], terms: Sequence[Term], generator: torch.Generator, convolutions: str
) -> Execution:
    """How phases are carried out on this device: precision, compilation, CUDA graphs."""
    train, device, share = config.train, generator.device, share_of(generator)
    mode = choose_mode(train, terms, device, share.size)
    return Execution(
        accumulate=train.accumulate,
        autocast=choose_precision(train.precision, device),
        compiled={name: torch.compile(net) for name, net in nets.items() if mode.compiled and compilable(net, share)},
        graphs=Graphs(cuda_capture(generator)) if mode.graphs else None,
        mode=mode.reason + convolutions,
    )


def build_state(config: Config, images: ImageSet | PairSet, device: torch.device, share: Share = WHOLE) -> TrainState:
    """A run before its first step; share: what this process has of every batch."""
    task, train = task_of(config), config.train
    loader, description = task.loader(images, share), task.describe(images)
    nets = build_nets(config, description)
    convolutions = prepare_nets(config, nets, device)
    prior = Prior(config.model.latent, config.model.prior, task.labels(images, description["classes"], device))
    loss = find_loss(config.objective.loss)
    terms, pre_d = build_terms_and_transforms(config, loss, nets, prior)
    players = {player: tuple(name for name in nets if name.startswith(player)) for player in ("D", "G")}
    sides = {player: nets.get(player) or _together(nets, names) for player, names in players.items()}
    generator = stream(device, share).manual_seed(train.seed)
    execution = build_execution(config, nets, terms, generator, convolutions)
    recorded = execution.graphs is not None
    objective = Objective(
        players=players,
        terms=terms,
        loss=loss,
        phases=train.phases,
        prior=prior,
        pre_d=pre_d,
        pre_d_on=PLACEMENTS[config.augment.diffaugment.placement],
        joint=not has_batch_statistics(sides["D"]),
        frozen=task.frozen(nets),
        sizes=phase_sizes(train, terms, share),
        lazy_apart=config.optim.lazy == "apart",
    )
    return TrainState(
        nets=nets,
        objective=objective,
        execution=execution,
        optimizers={
            "D": adam(sides["D"], config.optim.d, pace=objective.pace("D"), recorded=recorded),
            "G": adam(sides["G"], config.optim.g, pace=objective.pace("G"), recorded=recorded),
        },
        loader=loader,
        generator=generator,
        # A fine-tuned average starts from the source's.
        ema=EMA(sides["G"], start=0 if train.init_from else train.ema.start, half_life=train.ema.half_life),
        averaged=sides["G"],
        skipped=torch.zeros((), dtype=torch.int64, device=device),
        scales={player: LossScale() if execution.autocast is torch.float16 else FullRange() for player in players},
    )


def phase_sizes(train: TrainConfig, terms: Iterable[Term], share: Share) -> dict[str, int]:
    """How many samples a phase of a player has, where another number than reals.

    Raises:
        UserError: there are reals to look at in that phase, or the number cannot be shared out.
    """
    if train.g_batch_size is None:
        return {}
    looking = {term.name for term in terms if term.player == "G" for view in walk(term.needs) if isinstance(view, Real)}
    if looking and train.g_batch_size != train.batch:
        raise UserError(
            f"train.g_batch_size: phases of G look at reals too ({', '.join(sorted(looking))}), of which there are "
            "train.batch_size; set it to null"
        )
    if train.g_batch_size % (share.size * train.accumulate):
        raise UserError(f"train.g_batch_size {train.g_batch_size} is not divisible by the {share.size} processes")
    return {"G": train.g_batch_size}


def choose_convolutions(train: TrainConfig, device: torch.device, nets: Iterable[nn.Module]) -> str:
    """Switches Winograd convolutions on where they are faster; returns the choice in words.

    Not on a GPU, which multiplies faster than it transforms, nor under a compiler with its own convolutions, nor where
    torch's operators would do the transforms, which takes longer than the products that are saved.
    """
    if not (train.winograd and train.channels_last and device.type == "cpu" and not train.compile):
        return ""
    if train.precision == "float16":
        return "; Winograd in no convolution (train.precision=float16)"
    reason = obstacle()
    if not (count := sum(set_winograd(net, reason is None) for net in nets)):
        return ""
    if reason is None:
        return f"; Winograd in {count} convolutions (compiled kernels)"
    return f"; Winograd in no convolution (PyTorch operators: {reason})"


def _together(nets: Mapping[str, nn.Module], names: Iterable[str]) -> nn.Module:
    return nn.ModuleDict({name: nets[name] for name in names})


def compilable(net: nn.Module, share: Share) -> bool:
    """Exchanges between processes are not compiled, and so neither are networks that make some."""
    return share.size == 1 or not any(isinstance(module, Sharing) for module in net.modules())


def adam(net: nn.Module, player: PlayerConfig, *, pace: float = 1.0, recorded: bool = False) -> torch.optim.Adam:
    """Adam, fused: it is also what lets a phase be skipped without waiting for the device.

    pace: see `Objective.pace`; recorded: for CUDA graphs, which read the learning rate on the device.
    """
    start = value(player.lr, 0) * pace
    lr = torch.tensor(start, device=next(net.parameters()).device) if recorded else start
    betas = (value(player.beta1, 0) ** pace, value(player.beta2, 0) ** pace)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=betas, eps=player.eps, fused=True, capturable=recorded)
    optimizer._warned_capturable_if_run_uncaptured = True  # steps run so to warm up
    return optimizer
