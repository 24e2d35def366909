"""A generator from the description that its checkpoint keeps."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior, PriorKind
from steadygan.nets.registry import build_network
from steadygan.nets.shape import Shape
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
        raise UserError("the description of the generator is damaged: its sizes or its prior are invalid")
    classes = sizes["classes"]
    pool = torch.arange(classes) if classes else None
    _refuse_unknown_code(kind)
    shape = Shape(**sizes)
    prior_of = Prior(sizes["latent"], prior, pool)
    if names:
        return nn.ModuleDict({name: build_network("generator", kind, shape, options) for name in names}), prior_of
    return build_network("generator", kind, shape, options), prior_of


def _refuse_unknown_code(kind: object) -> None:
    """A checkpoint may have come from anywhere: it names a module, and only its user decides to import one."""
    module, colon, _ = str(kind).partition(":")
    if colon and module not in sys.modules and module not in os.environ.get("STEADYGAN_MODULES", "").split(","):
        raise UserError(
            f"its generator is built by {kind}, which is not part of steadygan; if you trust that code, "
            f"import {module} first, or set the environment variable STEADYGAN_MODULES={module}"
        )
