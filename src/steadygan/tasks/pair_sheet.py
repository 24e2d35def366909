"""Grids of input, output and target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadygan.data.pair_images import PairSet
from steadygan.generators.translation import translate
from steadygan.nets.translate import generator_name


def sheet(nets: nn.ModuleDict, images: PairSet, directions: Sequence[str], rows: int) -> tuple[Tensor, int]:
    """Rows of input | output | target | cycle, uint8, for each direction, and the number of columns.

    The target requires aligned images, the cycle a generator of the opposite direction.

    Args:
        nets: the generators by name.
        images: the pairs.
        directions: such as a2b.
        rows: maximum number of rows per direction.
    """
    domains = by_name(images, min(rows, len(images)))
    lines = []
    for direction in directions:
        source, target = domains[direction[0]], domains[direction[-1]]
        made = translate(nets[generator_name(direction)], source)
        columns = [source, made, *([target] if images.aligned else [])]
        if (back := generator_name(direction[::-1])) in nets:
            columns.append(translate(nets[back], made))
        lines.append(torch.stack(columns, 1))
    return torch.cat(lines).flatten(0, 1), lines[0].shape[1]


def by_name(images: PairSet, count: int) -> dict[str, Tensor]:
    """The first `count` images of "a" and of "b", uint8, on the CPU."""
    return dict(zip("ab", (domain.cpu() for domain in images.take(torch.arange(count))), strict=True))
