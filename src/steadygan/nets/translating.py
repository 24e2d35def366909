"""From images through a generator of images: the same few lines for sheets, scores, library and command line."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steadygan.data import PairSet, to_float, to_uint8
from steadygan.errors import UserError
from steadygan.nets.translate import LEAST_SIDE, STRIDE


def generator_name(direction: str) -> str:
    """`G_ab` of a2b."""
    return f"G_{direction[0]}{direction[-1]}"


def critic_name(direction: str) -> str:
    """`D_b` of a2b: who judges what it makes."""
    return f"D_{direction[-1]}"


@torch.no_grad()
def translate(net: nn.Module, images: Tensor, *, batch_size: int = 16) -> Tensor:
    """What a network in evaluation mode makes of uint8 images (N, C, H, W): as many, of their size, on the CPU.

    Raises `UserError` for images with a side below `LEAST_SIDE`.
    """
    if min(images.shape[2:]) < LEAST_SIDE:
        height, width = images.shape[2:]
        raise UserError(f"an image of {width}×{height} pixels is too small: sides must be at least {LEAST_SIDE}")
    device = next(net.parameters()).device
    return torch.cat([to_uint8(net(to_float(part.to(device)))).cpu() for part in images.split(batch_size)])


def sheet(nets: nn.ModuleDict, images: PairSet, directions: Sequence[str], rows: int) -> tuple[Tensor, int]:
    """Rows of input | output | target | cycle, one direction below the other, uint8, and how many columns that is.

    The target is there where the images are aligned, the cycle where there is a generator of the way back.
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


@torch.no_grad()
def translate_tiled(net: nn.Module, image: Tensor, *, tile: int = 1024, overlap: int = 128) -> Tensor:
    """`translate` of one uint8 image (C, H, W) of any size, with at most tile² pixels in the network at once.

    Larger images are cut into tiles that overlap by `overlap` pixels at least, each translated by itself; where they
    overlap, one fades linearly into the next. A network with instance norm sees each tile's own statistics, so that
    tiles can differ in tone: choose the largest tile that memory has room for. Raises `UserError` for a tile that is
    not larger than the overlap, not at least `LEAST_SIDE` or no multiple of 4.
    """
    if not 0 <= overlap < tile or tile < LEAST_SIDE or tile % STRIDE:
        raise UserError(
            f"a tile of {tile} pixels must be a multiple of {STRIDE}, at least {LEAST_SIDE} and larger than the "
            f"overlap of {overlap}"
        )
    _, height, width = image.shape
    if max(height, width) <= tile:
        return translate(net, image[None])[0]
    rows, columns = _windows(height, tile, overlap), _windows(width, tile, overlap)
    blended = torch.zeros(image.shape)
    for top, down in rows:
        for left, across in columns:
            made = translate(net, image[None, :, top : top + tile, left : left + tile])[0]
            blended[:, top : top + len(down), left : left + len(across)] += made * down[:, None] * across
    return blended.round().clamp(0, 255).to(torch.uint8)


def _windows(side: int, tile: int, overlap: int) -> list[tuple[int, Tensor]]:
    """Where tiles begin along a side, evenly spread, and the weight of each of their pixels.

    They are the fewest that overlap by `overlap`. Weights rise from the tile's edges and add up to 1 at each place.
    """
    if side <= tile:
        return [(0, torch.ones(side))]
    count = -(-(side - overlap) // (tile - overlap))
    starts = [round(index * (side - tile) / (count - 1)) for index in range(count)]
    rise = torch.arange(1, tile + 1).float()
    weights = torch.zeros(count, side)
    for row, start in zip(weights, starts, strict=True):
        row[start : start + tile] = torch.minimum(rise, rise.flip(0)).clamp(max=max(overlap, 1))
    weights /= weights.sum(0)
    return [(start, row[start : start + tile]) for row, start in zip(weights, starts, strict=True)]
