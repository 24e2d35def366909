"""Translates images, whole or in tiles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.translate import LEAST_SIDE, STRIDE
from steadygan.pictures.pixels import to_float, to_uint8


class TooSmall(UserError):
    """An image with fewer pixels than a network needs."""


@torch.no_grad()
def translate(net: nn.Module, images: Tensor, *, batch_size: int = 16) -> Tensor:
    """Translates uint8 images (N, C, H, W) with a network in evaluation mode: same size, on the CPU.

    Raises `TooSmall` for images with a side below `LEAST_SIDE`.
    """
    if min(images.shape[2:]) < LEAST_SIDE:
        height, width = images.shape[2:]
        raise TooSmall(f"an image of {width}×{height} pixels is too small: sides must be at least {LEAST_SIDE}")
    device = next(net.parameters()).device
    return torch.cat([to_uint8(net(to_float(part.to(device)))).cpu() for part in images.split(batch_size)])


@torch.no_grad()
def translate_tiled(net: nn.Module, image: Tensor, *, tile: int = 1024, overlap: int = 128) -> Tensor:
    """`translate` of one image of any size, with at most tile² pixels in the network at once.

    Larger images are cut into tiles that are translated separately and blended linearly where they overlap. Instance
    norm uses each tile's own statistics, so tiles can differ in tone: choose the largest tile that fits in memory.

    Args:
        net: the generator network of one direction.
        image: uint8 (C, H, W).
        tile: side of a tile in pixels, a multiple of 4.
        overlap: minimum overlap of adjacent tiles, in pixels.

    Returns:
        uint8 (C, H, W), the size of the image.

    Raises:
        UserError: the tile is not larger than the overlap, smaller than `LEAST_SIDE`, or not a multiple of 4.
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
    """Evenly spaced start positions of tiles along a side, and the weights of their pixels.

    The number of tiles is the smallest with this overlap. Weights rise from the tile's edges and sum to 1 at each
    position.
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
