"""Backbones: `create_generator` and `create_critic` build any family by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from steadygan.errors import UserError
from steadygan.nets import (
    biggan,
    biggan_deep,
    dcgan,
    fastgan,
    r3gan,
    resnet,
    stylegan2,
    translate,
    unet,
    unet_generator,
)
from steadygan.nets.shape import Shape, WrongShape
from steadygan.options import find, resolve

Role = Literal["generator", "critic"]

DEPTHS, DEEPEST = ("blocks", "depth", "layers", "mapping_layers"), 128
"""Options that count layers, and their maximum, as an untrusted description may contain any number."""


class Family(NamedTuple):
    """The two networks of a backbone; `nets.protocols` defines their interfaces.

    Attributes:
        generator: called with a `Shape` and its options as keyword-only arguments.
        critic: the same for the discriminator.
    """

    generator: Callable[..., nn.Module]
    critic: Callable[..., nn.Module]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "dcgan": Family(dcgan.Generator, dcgan.Critic),
        "resnet": Family(resnet.Generator, resnet.Critic),
        "sagan": Family(
            partial(biggan.Generator, shared=False, skip_z=False, attention="quarter", init="xavier", sn_eps=1e-12),
            partial(biggan.Critic, attention="quarter", init="xavier", sn_eps=1e-12),
        ),
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
"""Families of image-to-image generators; called like the others, with latent = 0."""

SET_BY: Mapping[str, str] = MappingProxyType(
    {
        "size": "data.size",
        "channels": "data.channels",
        "classes": "model.conditional",
        "latent": "model.latent",
        "width": "model.width",
    }
)
"""Fields of `Shape`, which are not options of a network, and the keys that set them."""


def find_family(kind: str) -> Family:
    """The family `name`, or a custom one `module:NAME`. Raises UserError if there is none."""
    family = find(kind, {**FAMILIES, **TRANSLATORS}, where="model.kind", noun="backbone")
    if not isinstance(family, Family):
        raise UserError(f"model.kind: {kind} is not a steadygan.nets.Family(Generator, Critic) of two networks")
    return family


def typed_options(role: Role, kind: str, given: Mapping[str, object]) -> dict[str, Any]:
    """Converts options of a network to its declared types; a discriminator may have its own `width`.

    Raises:
        UserError: an option does not exist, belongs to the run's shape, or has the wrong type.
    """
    where, own = f"model.{role}", {"width"} if role == "critic" else set()
    typed = resolve(_width, {key: given[key] for key in given if key in own} or {"width": 1}, where=where)
    rest = {key: value for key, value in given.items() if key not in own}
    typed |= resolve(getattr(find_family(kind), role), rest, where=where, set_by=SET_BY)
    return {key: typed[key] for key in given}


def _width(*, width: Annotated[int, Field(ge=1)]) -> None:
    """The signature of the shape options of a discriminator."""


def build_network(
    role: Role, kind: str, shape: Shape, options: Mapping[str, object], *, rng: torch.Generator | None = None
) -> nn.Module:
    """Builds one of a family's two networks with initial weights.

    Args:
        role: generator or critic.
        kind: name of a family, or `module:NAME` for a custom one.
        shape: size, channels, classes, latent and width.
        options: values from YAML, checked against the network's keyword-only parameters.
        rng: source of the initial weights; None: torch's global generator.

    Raises:
        UserError: the kind, shape or option does not exist.
    """
    build = getattr(find_family(kind), role)
    for key, value in vars(shape).items():
        least = 0 if key == "classes" or (key == "latent" and (kind in TRANSLATORS or role == "critic")) else 1
        if value < least:
            raise UserError(f"{key} must be at least {least}, got {value}")
    chosen = resolve(build, options, where=f"model.{role}", set_by=SET_BY)
    for key in DEPTHS:
        if type(value := chosen.get(key)) is int and value > DEEPEST:
            raise UserError(f"{kind}: model.{role}.{key} must be at most {DEEPEST}, got {value}")
    try:
        if rng is None:
            return build(shape, **chosen)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
            return build(shape, **chosen)
    except WrongShape as error:
        raise WrongShape(error.field, error.reason, kind=kind) from error
    except UserError as error:
        raise UserError(f"{kind}: {error}") from error


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
    """Builds a generator G(z (N, latent), y (N,) int64 or None) → images (N, channels, size, size) in [−1, 1].

    Args:
        kind: name of a family, or `module:NAME` for a custom one.
        size: side of the images, in pixels.
        channels: 1 or 3.
        classes: number of classes; 0: unconditional.
        latent: dimension of z.
        width: channels in units of the family, 64 being the published width of "dcgan" and "resnet".
        rng: source of the initial weights; None: torch's global generator.
        options: the family's options, such as sn_generator.

    Raises:
        UserError: the kind, size or an option does not exist.
    """
    return build_network("generator", kind, Shape(size, channels, classes, latent, width), options, rng=rng)


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
    """Builds a discriminator D(x (N, channels, size, size), y (N,) int64 or None) → Score.

    Args:
        kind, size, channels, classes, width, rng: see `create_generator`.
        options: the family's options, such as sn_critic.

    Raises:
        UserError: the kind, size or an option does not exist.
    """
    return build_network("critic", kind, Shape(size, channels, classes, 0, width), options, rng=rng)


def count_parameters(module: nn.Module) -> int:
    """The number of parameters, without buffers such as running statistics."""
    return sum(parameter.numel() for parameter in module.parameters())
