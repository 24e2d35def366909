"""A generator from the description that its checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior, PriorKind
from steadygan.nets.registry import create_generator
from steadygan.nets.translate import generator_name


def build_generator(description: Mapping[str, Any]) -> tuple[nn.Module, Prior]:
    """A generator with fresh weights, and its prior, from what `describe_generator` wrote.

    Of a translation: all generators in an `nn.ModuleDict`, and a prior over nothing.
    """
    try:
        sizes = {key: int(description[key]) for key in ("size", "channels", "classes", "latent", "width")}
        kind, prior, options = description["kind"], description["prior"], dict(description["options"])
        names = [generator_name(direction) for direction in description.get("directions", ())]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the description of the generator is incomplete or damaged: {error}") from error
    if any(value > 1 << 16 for value in sizes.values()) or prior not in get_args(PriorKind):
        raise UserError("the description of the generator is damaged: its sizes or its prior make no sense")
    classes = sizes["classes"]
    pool = torch.arange(classes) if classes else None
    arguments: dict[str, Any] = sizes | options
    prior_of = Prior(sizes["latent"], prior, pool)
    if names:
        return nn.ModuleDict({name: create_generator(kind, **arguments) for name in names}), prior_of
    return create_generator(kind, **arguments), prior_of
