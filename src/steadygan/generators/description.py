"""A generator from the description that its checkpoint keeps."""

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
"""Those of a translation."""


@contextmanager
def described(path: Path, damage: str) -> Iterator[None]:
    """Within, errors of a damaged checkpoint become one `UserError` that names it.

    Args:
        path: the checkpoint.
        damage: what is wrong with it if something is.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
        raise UserError(f"{path}: {damage}: {error}; {ANOTHER}") from error


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
    """Refuses a generator whose description promises another size than its weights have.

    The description may be a stranger's: networks are made on the meta device first, which takes no memory. (One of a
    module outside the package, which its user has imported, is made as it is: it may not know that device.)

    Raises:
        UserError: the description fits other weights, or those are gone.
    """
    if ":" in str(description.get("kind")):
        return
    with torch.device("meta"), Unfilled():
        network, _ = build_generator(description)
    promised = sum(tensor.numel() for tensor in network.state_dict().values())
    name = weights_name(path)
    try:
        there = (path / name).stat().st_size
    except OSError as error:  # a training that removes old checkpoints may have taken it meanwhile
        raise UserError(f"{path / name}: cannot be read: {error.strerror}") from error
    if promised * 2 > there:  # half precision at the least
        raise UserError(f"its description promises {promised:,} numbers, {name} has {there:,} bytes")


def trained_classes(description: Mapping[str, Any]) -> tuple[int, ...]:
    """The classes that the generator has seen images of: all, where the description names none."""
    classes = int(description["classes"])
    named = description.get("trained_classes")
    if named is None:
        return tuple(range(classes))
    if not isinstance(named, list) or any(type(entry) is not int or not 0 <= entry < classes for entry in named):
        raise UserError("the description of the generator is damaged: its trained_classes are no list of its classes")
    return tuple(sorted(set(named))) or tuple(range(classes))


def _refuse_unknown_code(kind: object) -> None:
    """A checkpoint may have come from anywhere: it names a module, and only its user decides to import one."""
    module, colon, _ = str(kind).partition(":")
    if colon and module not in sys.modules and module not in os.environ.get("STEADYGAN_MODULES", "").split(","):
        raise UserError(
            f"its generator is built by {kind}, which is not part of steadygan; if you trust that code, "
            f"import {module} first, or set the environment variable STEADYGAN_MODULES={module}"
        )
