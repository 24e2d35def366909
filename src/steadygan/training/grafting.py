"""Adapts another run's weights to this run's networks when classes or image size differ.

Tensors that both have are copied; tensors without a counterpart are initialised. The networks start as close to the
source as possible:

- every row of a per-class table is the mean of the source's rows;
- a batch norm's gain and bias become the rows of such a table if the source has no classes;
- StyleGAN2's mapping network gains inputs for the class, with zero weights;
- StyleGAN2 gains or loses whole resolutions, as it has one block for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UserError

GROWING = "stylegan2"
CHANGING = ("size", "classes", "class_names", "prior")
"""Entries in which two descriptions may differ; all others are the architecture."""
OUTERMOST = re.compile(r"^D\.from_rgb\.")
BLOCK = re.compile(r"^(D\.blocks\.)(\d+)(\..*)$")
ROWS = {"gamma": "weight", "beta": "bias"}
"""Per-class tables of a conditional batch norm, and their counterparts in an unconditional one."""
MAPPING = re.compile(r"^G(_ema)?\.mapping\.layers\.0\.weight$")


@dataclass
class Grafted:
    """Tensors by this run's names, the names that are initialised, and the source's names that are dropped."""

    weights: dict[str, Tensor]
    fresh: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def can_differ(source: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Whether two generator descriptions differ at most in classes or image size.

    Raises:
        UserError: they differ in a way that looks adaptable but is not; the message gives the reason.
    """
    if any(source.get(key) != mine[key] for key in mine if key not in CHANGING):
        return False
    if source.get("classes") and not mine["classes"]:
        raise UserError(
            f"its networks are conditional on {source['classes']} classes, this run's are unconditional, but "
            "their images depend on the class; set model.conditional=true"
        )
    if source.get("size") != mine["size"] and mine["kind"] != GROWING:
        raise UserError(
            f"its images have {source.get('size')} pixels a side, this run's {mine['size']}: the layers of "
            f"model.kind={mine['kind']} have other widths at another size; set data.size={source.get('size')} (only "
            f"{GROWING} is made of the same blocks at every size)"
        )
    return bool(source.get("classes") != mine["classes"] or source.get("size") != mine["size"])


def graft(weights: Mapping[str, Tensor], mine: Mapping[str, Tensor], steps: int) -> Grafted:
    """Maps the source's weights to this run's names.

    steps: log2 of this run's image size over the source's.
    """
    kept = {name: value for name, value in weights.items() if not (steps and OUTERMOST.match(name))}
    source = {_moved(name, steps): value for name, value in kept.items()}
    found = Grafted({})
    for name, own in mine.items():
        there = source.pop(name, None)
        if there is not None and there.shape == own.shape and there.dtype == own.dtype:
            found.weights[name] = there
        elif (made := _adapted(name, own, there, source)) is not None:
            found.weights[name] = made
        else:
            found.weights[name] = own
            found.fresh.append(name)
    found.left = sorted(source)
    return found


def _moved(name: str, steps: int) -> str:
    """This run's name of a discriminator block; blocks are numbered from the image."""
    match = BLOCK.match(name)
    return f"{match[1]}{int(match[2]) + steps}{match[3]}" if match and steps else name


def _adapted(name: str, own: Tensor, there: Tensor | None, source: dict[str, Tensor]) -> Tensor | None:
    """Adapts a tensor to other classes; None if it has to be initialised."""
    base, _, last = name.rpartition(".")
    if last in ROWS and own.dim() == 2:
        row = there.mean(0) if there is not None else source.pop(f"{base}.{ROWS[last]}", None)
        if row is not None and row.shape == own.shape[1:]:
            return row.expand_as(own).clone()
    if MAPPING.match(name) and there is not None and len(there) == len(own) and there.shape[1] < own.shape[1]:
        # An equalised layer divides by √inputs: with more inputs, the same function needs larger weights.
        made = torch.zeros_like(own)
        made[:, : there.shape[1]] = there * (own.shape[1] / there.shape[1]) ** 0.5
        return made
    return None
