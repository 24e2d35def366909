"""Turns a description into objects. Nothing else does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from steadygan.config import Config, PlayerConfig, TrainConfig
from steadygan.data.balance import fakes_follow_data
from steadygan.data.images import ImageSet
from steadygan.data.loader import Loader
from steadygan.data.pair_images import PairSet
from steadygan.data.pair_loader import PairLoader
from steadygan.errors import UserError
from steadygan.generators.description import build_generator
from steadygan.generators.prior import Prior
from steadygan.kernels.winograd.layer import set_winograd
from steadygan.kernels.winograd.native import obstacle
from steadygan.machine import choose_precision
from steadygan.nets.adapt import all_but_scale_and_shift, lower_blocks
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.recompute import set_recompute
from steadygan.nets.registry import TRANSLATORS, create_critic
from steadygan.nets.resample import set_folding
from steadygan.nets.translate import critic_name, generator_name
from steadygan.objective.adaptive import deceived, watch
from steadygan.objective.adversarial import find_loss
from steadygan.objective.batch import Transform
from steadygan.objective.game import Game, TranslationGame
from steadygan.objective.registry import PLACEMENTS, build_terms, resolve_options
from steadygan.objective.views import Gen, Real
from steadygan.parallel.share import WHOLE, Share, Sharing, stream
from steadygan.schedules import value
from steadygan.tasks.images import Images, describe_generator
from steadygan.tasks.synthesis import Sampling
from steadygan.tasks.translation import Translating
from steadygan.training.ema import EMA
from steadygan.training.graphs import Graphs, choose_mode, cuda_capture
from steadygan.training.state import TrainState
from steadygan.training.task import Task
from steadygan.transforms.ada import ADA, strengths
from steadygan.transforms.adaptive import Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment


def resolve(config: Config) -> Config:
    """The same configuration with every option of every term written out."""
    if (config.data.domains is None) == (config.model.kind in TRANSLATORS):
        raise UserError(
            f"model.kind={config.model.kind} and data.domains={config.data.domains or 'null'} do not fit: "
            f"{' or '.join(TRANSLATORS)} goes with domains, paired or unpaired, and every other kind with none"
        )
    if config.data.domains is not None and config.model.conditional:
        raise UserError("model.conditional: the images of a translation have no classes; set it to false")
    objective = config.objective.model_copy(update={"terms": resolve_options(config.objective.terms)})
    return config.model_copy(update={"objective": objective})


def build_nets(config: Config, description: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks with their initial weights, a function of `train.seed` alone."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        generator, _ = build_generator(description)
        sizes = {key: description[key] for key in ("size", "channels", "classes", "width")}
        critic = partial(create_critic, model.kind, **(sizes | model.critic))  # its `width` is of the critic alone
        if isinstance(generator, nn.ModuleDict):
            critics = {critic_name(direction): critic() for direction in model.directions}
            return {**dict(generator.items()), **critics}
        return {"G": generator, "D": critic()}


def build_games(config: Config, game: Game) -> tuple[Game, ...]:
    """What terms are written from: once, or for each direction of a translation."""
    if config.data.domains is None:
        return (game,)
    model, aligned = config.model, config.data.domains == "paired"
    if (critic_sees_input := model.critic.get("images", 1) > 1) and not aligned:
        raise UserError("model.critic.images=2 judges an image beside its input; set data.domains=paired")
    d_weight, g_weight = TranslationGame.weights(game.loss)
    return tuple(
        TranslationGame(
            real=Real(direction[-1]),
            fake=Gen(generator_name(direction), Real(direction[0])),
            loss=game.loss,
            d_weight=d_weight,
            g_weight=g_weight,
            augment=game.augment,
            pre_d=game.pre_d,
            nets=game.nets,
            prior=game.prior,
            critic=critic_name(direction),
            suffix=f"_{direction}",
            inverse=generator_name(direction[::-1]) if direction[::-1] in model.directions else None,
            history=config.objective.history,
            critic_sees_input=critic_sees_input,
            aligned=aligned,
        )
        for direction in model.directions
    )


def build_controllers(config: Config) -> dict[str, Controller]:
    """What steers the adaptive augmentations that are on, by name."""
    augment, batch_size = config.augment, config.train.batch_size
    on = {name: section for name, section in (("ada", augment.ada), ("apa", augment.apa)) if section is not None}
    if on and config.data.domains is not None:
        raise UserError(f"augment.{next(iter(on))} is not for translations (data.domains); set it to null")
    if "ada" in on and augment.diffaugment.placement != "both":
        raise UserError(
            "augment.ada: augment.diffaugment.placement is an ablation of DiffAugment alone; set it to both"
        )
    return {
        name: Controller(target=section.target, kimg=section.kimg, interval=section.every * batch_size, p=section.p)
        for name, section in on.items()
    }


def build_pre_d(config: Config, controller: Controller | None) -> Transform | None:
    """What everything D sees passes through: DiffAugment, then ADA; None when there is neither."""
    policy, ada = config.augment.diffaugment.policy, config.augment.ada
    stages: list[Transform] = [DiffAugment(policy, config.model.critic.get("images", 1))] if policy else []
    if ada is not None and controller is not None:
        stages.append(ADA(controller, strengths(ada.ops)))
    return Chain(tuple(stages)) if len(stages) > 1 else stages[0] if stages else None


def build_state(config: Config, images: ImageSet | PairSet, device: torch.device, share: Share = WHOLE) -> TrainState:
    """A run before its first step; share: what this process has of every batch."""
    if share.size > 1 and isinstance(images, PairSet):
        raise UserError(
            f"a translation (data.domains) trains in one process, and there are {share.size}; start it without torchrun"
        )
    description = describe_generator(config, images)
    nets = build_nets(config, description)
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    for net in nets.values():
        net.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        set_folding(net, config.train.fold)
    fewer = sum(set_winograd(net, True) for net in nets.values()) if uses_winograd(config.train, device) else 0
    blocks = sum(set_recompute(net, config.train.recompute) for net in nets.values())
    if config.train.recompute and not blocks:
        raise UserError(f"train.recompute: {config.model.kind} is not made of blocks; set it to false")
    classes = description["classes"]
    pool = None
    if classes:
        assert isinstance(images, ImageSet)
        asked, own = config.model.fake_labels, images.source.labels
        pool = images.labels if fakes_follow_data(asked, own, classes) else torch.arange(classes, device=device)
    transform = Consistency(**config.augment.consistency.model_dump())
    active = transform.flip or transform.shift or transform.cutout
    prior = Prior(config.model.latent, config.model.prior, pool)
    controllers = build_controllers(config)
    pre_d = build_pre_d(config, controllers.get("ada"))
    loss = find_loss(config.objective.loss)
    game = Game.of(transform if active else None, loss=loss, pre_d=pre_d, nets=nets, prior=prior)
    if "apa" in controllers:
        game = deceived(game, controllers["apa"])
    terms = build_terms(*build_games(config, game), terms=config.objective.terms)
    terms += tuple(term for name, steers in controllers.items() for term in watch(terms, loss, name, steers))
    train, diffaugment = config.train, config.augment.diffaugment
    players = {player: tuple(name for name in nets if name.startswith(player)) for player in ("D", "G")}
    sides = {player: nets.get(player) or _together(nets, names) for player, names in players.items()}
    order: dict[str, Any] = {"batch_size": train.batch_size, "seed": train.seed, "flip": config.data.flip}
    part: dict[str, Any] = {"rank": share.rank, "world_size": share.size, "parts": train.accumulate}
    generator = stream(device, share).manual_seed(train.seed)
    mode = choose_mode(train, terms, device, share.size)
    return TrainState(
        nets=nets,
        players=players,
        optimizers={
            "D": adam(sides["D"], config.optim.d, recorded=mode.graphs),
            "G": adam(sides["G"], config.optim.g, recorded=mode.graphs),
        },
        terms=terms,
        loss=loss,
        phases=train.phases,
        prior=prior,
        loader=PairLoader(images, **order) if isinstance(images, PairSet) else Loader(images, **order, **part),
        generator=generator,
        # A fine-tuned average goes on from the source's.
        ema=EMA(sides["G"], start=0 if train.init_from else train.ema.start, half_life=train.ema.half_life),
        averaged=sides["G"],
        accumulate=train.accumulate,
        pre_d=pre_d,
        pre_d_on=PLACEMENTS[diffaugment.placement],
        joint=not has_batch_statistics(sides["D"]),
        autocast=choose_precision(train.precision, device),
        compiled={name: torch.compile(net) for name, net in nets.items() if mode.compiled and compilable(net, share)},
        frozen=frozen_parameters(config, nets),
        graphs=Graphs(cuda_capture(generator)) if mode.graphs else None,
        mode=mode.reason + (f"; {fewer} convolutions with fewer products ({_by_what()})" if fewer else ""),
        skipped=torch.zeros((), dtype=torch.int64, device=device),
    )


def uses_winograd(train: TrainConfig, device: torch.device) -> bool:
    """Graphics processors multiply faster than they could spread; a compiler arranges its own convolutions."""
    return train.winograd and train.channels_last and device.type == "cpu" and not train.compile


def _by_what() -> str:
    """What spreads and merges: machine code, or torch's operators and why."""
    reason = obstacle()
    return f"train.winograd{f', by torch operators: {reason}' if reason else ''}"


def _together(nets: Mapping[str, nn.Module], names: Iterable[str]) -> nn.Module:
    return nn.ModuleDict({name: nets[name] for name in names})


def compilable(net: nn.Module, share: Share) -> bool:
    """Exchanges between processes are not compiled, and so neither are networks that make some."""
    return share.size == 1 or not any(isinstance(module, Sharing) for module in net.modules())


def frozen_parameters(config: Config, nets: Mapping[str, nn.Module]) -> frozenset[str]:
    """What stays as it is in `train.init_from`, as `network.parameter`."""
    kind, blocks, adapt = config.model.kind, config.train.freeze_critic, config.train.adapt
    if config.data.domains is not None:
        if blocks or adapt != "all":
            raise UserError("train.freeze_critic and train.adapt are not for translations (data.domains); leave them")
        return frozenset()
    resting = {"D": lower_blocks(kind, nets["D"], blocks)}
    if adapt == "scale-shift":
        resting["G"] = all_but_scale_and_shift(nets["G"])
    return frozenset(f"{net}.{name}" for net, names in resting.items() for name in names)


def adam(net: nn.Module, player: PlayerConfig, *, recorded: bool = False) -> torch.optim.Adam:
    """Adam, fused: it is also what lets a phase be skipped without waiting for the device.

    recorded: for CUDA graphs, which read the learning rate on the device.
    """
    start = value(player.lr, 0)
    lr = torch.tensor(start, device=next(net.parameters()).device) if recorded else start
    betas = (value(player.beta1, 0), value(player.beta2, 0))
    optimizer = torch.optim.Adam(net.parameters(), lr=lr, betas=betas, eps=player.eps, fused=True, capturable=recorded)
    optimizer._warned_capturable_if_run_uncaptured = True  # steps run so to warm up
    return optimizer


def build_task(config: Config, images: Images) -> Task:
    """What the loop shows of this kind of run."""
    generator = describe_generator(config, images.train)
    if isinstance(images.train, PairSet):
        assert not isinstance(images.heldout, ImageSet)
        beside = config.model.critic.get("images", 1) > 1
        return Translating(images.train, images.heldout, generator, config.model.directions, beside)
    assert not isinstance(images.heldout, PairSet)
    return Sampling(images.train, images.heldout, generator, config.train.seed)
