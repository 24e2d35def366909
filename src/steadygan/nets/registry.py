"""Backbones: `create_generator` and `create_critic` build any family by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import nn

from steadygan.errors import UserError, nearest
from steadygan.nets import (
    biggan,
    biggan_deep,
    dcgan,
    fastgan,
    r3gan,
    resnet,
    sagan,
    stylegan2,
    translate,
    unet,
    unet_generator,
)


class Family(NamedTuple):
    """The two networks of a backbone. Keyword arguments beyond those of `create_*` are its options."""

    generator: Callable[..., nn.Module]
    critic: Callable[..., nn.Module]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "dcgan": Family(dcgan.Generator, dcgan.Critic),
        "resnet": Family(resnet.Generator, resnet.Critic),
        "sagan": Family(sagan.Generator, sagan.Critic),
        "biggan": Family(biggan.Generator, biggan.Critic),
        "biggan-deep": Family(biggan_deep.Generator, biggan_deep.Critic),
        "unet": Family(biggan.Generator, unet.Critic),
        "stylegan2": Family(stylegan2.Generator, stylegan2.Critic),
        "fastgan": Family(fastgan.Generator, fastgan.Critic),
        "r3gan": Family(r3gan.Generator, r3gan.Critic),
    }
)

TRANSLATORS: Mapping[str, Family] = MappingProxyType(
    {
        "translate": Family(translate.Generator, translate.Critic),
        "unet-translate": Family(unet_generator.Generator, translate.Critic),
    }
)
"""Families whose generator makes images of images; called like the others, with latent = 0."""

SHARED_KEYS = ("size", "channels", "classes", "latent", "width")


def _create(
    kind: str,
    role: str,
    sizes: dict[str, int],
    options: dict[str, object],
    rng: torch.Generator | None,
) -> nn.Module:
    families = {**FAMILIES, **TRANSLATORS}
    if kind not in families:
        raise UserError(f"model.kind: no backbone is called {kind!r}; {nearest(kind, families)}")
    for key, value in sizes.items():
        least = 0 if key == "classes" or (key == "latent" and kind in TRANSLATORS) else 1
        if value < least:
            raise UserError(f"{key} must be at least {least}, got {value}")
    build = getattr(families[kind], role)
    known = [name for name in inspect.signature(build).parameters if name not in SHARED_KEYS]
    for name in options:
        if name not in known:
            raise UserError(f"{name}: not an option of the {kind} {role}; {nearest(name, known)}")
    if rng is None:
        return build(**sizes, **options)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
        return build(**sizes, **options)


def create_generator(
    kind: str,
    *,
    size: int,
    channels: int,
    classes: int,
    latent: int,
    width: int,
    rng: torch.Generator | None = None,
    **options: object,
) -> nn.Module:
    """A generator G(z (N, latent), y (N,) int64 or None) → images (N, channels, size, size) in [−1, 1].

    classes: 0 for an unconditional network. width: channels in units of the family, 64 being the published
    width of "dcgan" and "resnet". rng: where the initial weights come from (torch's global one when None).
    options: the family's own, such as sn_generator.
    Raises UserError for a kind, size or option that does not exist.
    """
    sizes = {"size": size, "channels": channels, "classes": classes, "latent": latent, "width": width}
    return _create(kind, "generator", sizes, options, rng)


def create_critic(
    kind: str,
    *,
    size: int,
    channels: int,
    classes: int,
    width: int,
    rng: torch.Generator | None = None,
    **options: object,
) -> nn.Module:
    """A critic D(x (N, channels, size, size), y (N,) int64 or None) → Score.

    Arguments and errors as for `create_generator`; options such as sn_critic.
    """
    sizes = {"size": size, "channels": channels, "classes": classes, "width": width}
    return _create(kind, "critic", sizes, options, rng)


def count_parameters(module: nn.Module) -> int:
    """The number of numbers an optimiser would learn (buffers such as running statistics are not counted)."""
    return sum(parameter.numel() for parameter in module.parameters())
