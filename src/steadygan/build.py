"""Turns a description into objects. Nothing else does."""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steadygan.config import Config, PlayerConfig
from steadygan.data import ImageSet, Loader, cache_root, is_name, load_images, open_source, split
from steadygan.errors import UserError
from steadygan.machine import has_bfloat16
from steadygan.nets import create_critic, create_generator, has_batch_statistics
from steadygan.nets.prior import Prior
from steadygan.nets.resample import set_folding
from steadygan.objective import PLACEMENTS, Parts, build_terms, resolve_options
from steadygan.training.ema import EMA
from steadygan.training.state import TrainState
from steadygan.transforms import Consistency, DiffAugment

Notify = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """The real images of a run: those trained on, and those kept away (None when nothing is held out)."""

    train: ImageSet
    heldout: ImageSet | None


def choose_device(name: str = "auto") -> torch.device:
    """The device a configuration asks for; `auto` takes an accelerator when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"train.device={name}: not usable here ({reason}); `steadygan doctor` lists devices") from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """To what networks are rounded while they train on this device; None: float32 throughout."""
    has = has_bfloat16(device.type)
    if name == "bfloat16" and not has:
        raise UserError(f"train.precision=bfloat16: {device} has no units for it; set train.precision=auto")
    return torch.bfloat16 if has and name != "float32" else None


def resolve(config: Config) -> Config:
    """The same configuration with every option of every term written out."""
    objective = config.objective.model_copy(update={"terms": resolve_options(config.objective.terms)})
    return config.model_copy(update={"objective": objective})


def build_images(config: Config, device: torch.device, notify: Notify | None = None) -> Images:
    """Opens, splits and loads the data."""
    data = config.data
    source = open_source(data.path, size=data.size, channels=data.channels, root=data.root)
    if config.model.conditional and source.labels is None:
        raise UserError(
            f"model.conditional needs labels, but {data.path} has none: sort the images into class folders, add a "
            "dataset.json, or set model.conditional=false"
        )
    train, heldout = split(len(source), data.heldout, data.fraction, data.seed, data.max_images)
    if config.train.batch_size > len(train):
        raise UserError(
            f"train.batch_size is {config.train.batch_size}, but there are only {len(train)} training images in "
            f"{data.path}; lower it to at most {len(train)}"
        )
    load = partial(
        load_images,
        source,
        device=device,
        cache=cache_root() / "images" if data.cache else None,
        max_unreadable=data.max_unreadable,
        total=len(train) + len(heldout),
    )
    return Images(load(train, progress=notify), load(heldout) if len(heldout) else None)


def describe_generator(config: Config, images: ImageSet) -> dict[str, Any]:
    """All that is needed to build the generator again, in plain JSON values; kept in every checkpoint."""
    model = config.model
    classes = len(images.class_names) if model.conditional else 0
    return {
        "kind": model.kind,
        "size": images.size,
        "channels": images.channels,
        "classes": classes,
        "latent": model.latent,
        "width": model.width,
        "options": dict(model.generator),
        "prior": model.prior,
        "class_names": list(images.class_names) if classes else [],
    }


def build_generator(description: Mapping[str, Any]) -> tuple[nn.Module, Prior]:
    """A generator with fresh weights, and its prior, from what `describe_generator` wrote."""
    try:
        sizes = {key: int(description[key]) for key in ("size", "channels", "classes", "latent", "width")}
        kind, prior, options = description["kind"], description["prior"], dict(description["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the description of the generator is incomplete or damaged: {error}") from error
    if any(value > 1 << 16 for value in sizes.values()) or prior not in ("normal", "uniform"):
        raise UserError("the description of the generator is damaged: its sizes or its prior make no sense")
    classes = sizes["classes"]
    pool = torch.arange(classes) if classes else None
    arguments: dict[str, Any] = sizes | options
    return create_generator(kind, **arguments), Prior(sizes["latent"], prior, pool)


def build_nets(config: Config, description: Mapping[str, Any]) -> dict[str, nn.Module]:
    """The networks with their initial weights, a function of `train.seed` alone."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        generator, _ = build_generator(description)
        sizes = {key: description[key] for key in ("size", "channels", "classes", "width")}
        critic = create_critic(model.kind, **(sizes | model.critic))  # an option `width` is of the critic alone
    return {"G": generator, "D": critic}


def build_state(config: Config, images: ImageSet, device: torch.device) -> TrainState:
    """A run before its first step."""
    description = describe_generator(config, images)
    nets = build_nets(config, description)
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    for net in nets.values():
        net.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        set_folding(net, config.train.fold)
    classes = description["classes"]
    pool = None
    if classes:
        pool = images.labels if config.model.fake_labels == "data" else torch.arange(classes, device=device)
    transform = Consistency(**config.augment.consistency.model_dump())
    active = transform.flip or transform.shift or transform.cutout
    prior = Prior(config.model.latent, config.model.prior, pool)
    policy = config.augment.diffaugment.policy
    pre_d = DiffAugment(policy) if policy else None
    terms = build_terms(
        Parts.of(transform if active else None, nets=nets, prior=prior, pre_d=pre_d),
        loss=config.objective.loss,
        terms=config.objective.terms,
    )
    train, diffaugment = config.train, config.augment.diffaugment
    return TrainState(
        nets=nets,
        players={"D": ("D",), "G": ("G",)},
        optimizers={"D": adam(nets["D"], config.optim.d), "G": adam(nets["G"], config.optim.g)},
        terms=terms,
        phases=train.phases,
        prior=prior,
        loader=Loader(images, batch_size=train.batch_size, seed=train.seed, flip=config.data.flip),
        generator=torch.Generator(device).manual_seed(train.seed),
        ema=EMA(nets["G"], start=train.ema.start, half_life=train.ema.half_life),
        accumulate=train.accumulate,
        pre_d=pre_d,
        pre_d_on=PLACEMENTS[diffaugment.placement],
        joint=not has_batch_statistics(nets["D"]),
        autocast=choose_precision(train.precision, device),
        compiled={name: torch.compile(net) for name, net in nets.items()} if train.compile else {},
        skipped=torch.zeros((), dtype=torch.int64, device=device),
    )


def adam(net: nn.Module, player: PlayerConfig) -> torch.optim.Adam:
    """Adam, fused: it is also what lets a phase be skipped without waiting for the device."""
    return torch.optim.Adam(
        net.parameters(), lr=player.lr, betas=(player.beta1, player.beta2), eps=player.eps, fused=True
    )


PACKAGES = ("steadygan", "torch", "torchvision", "numpy", "pillow", "scikit-learn", "safetensors", "pydantic")


def provenance(config: Config, images: Images, device: torch.device) -> dict[str, Any]:
    """Where a run comes from: versions, machine, seed and the content of its data."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device} ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "seed": config.train.seed,
        "config_sha256": hashlib.sha256(config.to_yaml().encode()).hexdigest(),
        "data": {
            "path": config.data.path
            if is_name(config.data.path)
            else str(Path(config.data.path).expanduser().resolve()),
            "fingerprint": images.train.fingerprint,
            "train": len(images.train),
            "heldout": len(images.heldout) if images.heldout is not None else 0,
            "skipped": images.train.skipped + (images.heldout.skipped if images.heldout is not None else []),
        },
    }
