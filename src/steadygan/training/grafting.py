"""Another run's networks made to fit this run's: other classes, or another size of images, where that makes sense.

What both have is taken over, and what a change leaves without a counterpart starts afresh. Networks then start where
the source ended as nearly as they can:

- a table with a row for each class has the mean of the source's rows in every row;
- a batch norm's gain and bias become the rows of such a table where classes are new;
- StyleGAN2's mapping of a latent gains inputs for the class, with weights of 0;
- StyleGAN2 grows and shrinks by whole resolutions, since it is made of one block for each.
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
"""What two descriptions may differ in; the rest is the architecture."""
OUTERMOST = re.compile(r"^D\.from_rgb\.")
BLOCK = re.compile(r"^(D\.blocks\.)(\d+)(\..*)$")
ROWS = {"gamma": "weight", "beta": "bias"}
"""Tables by class of a conditional batch norm, and what a plain one has in their place."""
MAPPING = re.compile(r"^G(_ema)?\.mapping\.layers\.0\.weight$")


@dataclass
class Grafted:
    """Tensors for each of this run's names, those of them that start afresh, and the source's that have no place."""

    weights: dict[str, Tensor]
    fresh: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def can_differ(source: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Whether two descriptions of a generator are of one architecture, but for the classes or the size.

    Raises:
        UserError: they differ in a way that could be taken for sensible, but is not; with the reason.
    """
    if any(source.get(key) != mine[key] for key in mine if key not in CHANGING):
        return False
    if source.get("classes") and not mine["classes"]:
        raise UserError(
            f"its networks are conditional on {source['classes']} classes, this run's are unconditional: what they "
            "make depends on a class that would no longer be there; set model.conditional=true"
        )
    if source.get("size") != mine["size"] and mine["kind"] != GROWING:
        raise UserError(
            f"its images have {source.get('size')} pixels a side, this run's {mine['size']}: the layers of "
            f"model.kind={mine['kind']} have other widths at another size; set data.size={source.get('size')} (only "
            f"{GROWING} is made of the same blocks at every size)"
        )
    return bool(source.get("classes") != mine["classes"] or source.get("size") != mine["size"])


def graft(weights: Mapping[str, Tensor], mine: Mapping[str, Tensor], steps: int) -> Grafted:
    """The source's weights in this run's places.

    steps: by how many doublings this run's images are larger than the source's; negative where they are smaller.
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
    """The name in this run of a discriminator's block: they are counted from the image."""
    match = BLOCK.match(name)
    return f"{match[1]}{int(match[2]) + steps}{match[3]}" if match and steps else name


def _adapted(name: str, own: Tensor, there: Tensor | None, source: dict[str, Tensor]) -> Tensor | None:
    """A tensor for more classes or for classes at all; None where only a fresh one will do."""
    base, _, last = name.rpartition(".")
    if last in ROWS and own.dim() == 2:
        row = there.mean(0) if there is not None else source.pop(f"{base}.{ROWS[last]}", None)
        if row is not None and row.shape == own.shape[1:]:
            return row.expand_as(own).clone()
    if MAPPING.match(name) and there is not None and len(there) == len(own) and there.shape[1] < own.shape[1]:
        # An equalised layer divides by √inputs: the same function of the latent needs larger weights.
        made = torch.zeros_like(own)
        made[:, : there.shape[1]] = there * (own.shape[1] / there.shape[1]) ** 0.5
        return made
    return None
