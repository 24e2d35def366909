"""Custom transforms of D's inputs, named `module:NAME` in a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from steadygan.errors import UserError
from steadygan.options import find, resolve
from steadygan.transforms.adaptive import Adaptive
from steadygan.transforms.chain import Transform

KEY = "augment.transforms"


def transform_options(given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fills in all options of transforms and checks them against the signatures.

    Raises:
        UserError: a module, name or option does not exist, or a value has the wrong type.
    """
    return {name: resolve(_maker(name), options, where=f"{KEY}.{name}") for name, options in given.items()}


def build_transforms(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Transform]:
    """Builds the transforms, by name, in order.

    Raises:
        UserError: `transform_options` raises it, or a transform's state could not be saved in checkpoints.
    """
    made: dict[str, Transform] = {}
    for name, options in transform_options(given).items():
        transform = _maker(name)(**options)
        if not callable(transform):
            raise UserError(f"{KEY}.{name} makes {transform!r}, which is not a function T(x, generator)")
        if isinstance(transform, nn.Module) and not isinstance(transform, Adaptive):
            raise UserError(
                f"{KEY}.{name} is a module whose state would not be saved in checkpoints; derive it from "
                "steadygan.transforms.Adaptive"
            )
        made[name] = transform
    return made


def _maker(name: str) -> Callable[..., Any]:
    if ":" not in name:
        raise UserError(f"{KEY}.{name}: name a transform of your own as module:NAME; the package's have their own keys")
    maker = find(name, {}, where=f"{KEY}.{name}", noun="transform")
    if not callable(maker):
        raise UserError(f"{KEY}.{name} is not a class or function that makes a transform")
    return maker
