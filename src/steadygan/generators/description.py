"""Builds generators from the descriptions in their checkpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior, PriorKind
from steadygan.nets.registry import build_network
from steadygan.nets.shape import Shape
from steadygan.nets.translate import generator_name
from steadygan.nets.unfilled import Unfilled
from steadygan.runs.checkpoint import ANOTHER, weights_name

GENERATORS = ("G_ab", "G_ba")
"""Keys in the description of a translation."""


@contextmanager
def described(path: Path, damage: str) -> Iterator[None]:
    """Context manager: turns errors of a damaged checkpoint into one `UserError` that names it.

    Args:
        path: the checkpoint.
        damage: the message for such errors.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: {damage}: {error}; {ANOTHER}") from error


def build_generator(description: Mapping[str, Any]) -> tuple[nn.Module, Prior]:
    """Builds a generator with initial weights, and its prior, from a `describe_generator` dictionary.

    For a translation: all generators in an `nn.ModuleDict`, and an empty prior.

    Raises:
        UserError: the description is incomplete or damaged.
    """
    try:
        sizes = {key: int(description[key]) for key in ("size", "channels", "classes", "latent", "width")}
        kind, prior, options = description["kind"], description["prior"], dict(description["options"])
        names = [generator_name(direction) for direction in description.get("directions", ())]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the description of the generator is incomplete or damaged: {error}") from error
    counts = [*sizes.values(), *(value for value in options.values() if isinstance(value, int))]
    if any(value > 1 << 16 for value in counts) or prior not in get_args(PriorKind):
        raise UserError("the description of the generator is damaged: its sizes or its prior are invalid")
    if not set(names) <= set(GENERATORS) or len(set(names)) < len(names):
        raise UserError("the description of the generator is damaged: its directions are not a2b, b2a, or both")
    classes = sizes["classes"]
    pool = torch.tensor(trained_classes(description)) if classes else None
    _refuse_unknown_code(kind)
    shape = Shape(**sizes)
    prior_of = Prior(sizes["latent"], prior, pool)
    if names:
        return nn.ModuleDict({name: build_network("generator", kind, shape, options) for name in names}), prior_of
    return build_network("generator", kind, shape, options), prior_of


def refuse_oversized(path: Path, description: Mapping[str, Any]) -> None:
    """Checks that the description of a generator matches the size of its weights.

    As the description is untrusted, networks are first built on the meta device, which takes no memory. (Custom
    networks, which the user has imported, are built normally: they may not support that device.)

    Raises:
        UserError: the description does not match the weights, or the weights are missing.
    """
    if ":" in str(description.get("kind")):
        return
    with torch.device("meta"), Unfilled():
        network, _ = build_generator(description)
    promised = sum(tensor.numel() for tensor in network.state_dict().values())
    name = weights_name(path)
    try:
        there = (path / name).stat().st_size
    except OSError as error:  # retention may have deleted it meanwhile
        raise UserError(f"{path / name}: cannot be read: {error.strerror}") from error
    if promised * 2 > there:  # at least half precision
        raise UserError(f"its description implies {promised:,} numbers, but {name} has {there:,} bytes")


def trained_classes(description: Mapping[str, Any]) -> tuple[int, ...]:
    """The trained classes of a generator; all if the description names none.

    Raises:
        UserError: the description is damaged.
    """
    classes = int(description["classes"])
    named = description.get("trained_classes")
    if named is None:
        return tuple(range(classes))
    if not isinstance(named, list) or any(type(entry) is not int or not 0 <= entry < classes for entry in named):
        raise UserError(
            "the description of the generator is damaged: its trained_classes are not a list of its classes"
        )
    return tuple(sorted(set(named))) or tuple(range(classes))


def _refuse_unknown_code(kind: object) -> None:
    """Refuses custom modules named by a checkpoint, which is untrusted, unless the user has imported them."""
    module, colon, _ = str(kind).partition(":")
    if colon and module not in sys.modules and module not in os.environ.get("STEADYGAN_MODULES", "").split(","):
        raise UserError(
            f"its generator is built by {kind}, which is not part of steadygan; if you trust that code, "
            f"import {module} first, or set the environment variable STEADYGAN_MODULES={module}"
        )
