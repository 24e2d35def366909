"""Filtered warps: anti-aliased resampling at arbitrary positions (Karras et al., ADA, NeurIPS 2020, appendix B)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.transforms.constants import constant

# The low-pass filter of the sixth symlet, an orthogonal wavelet (Daubechies, 1992).
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
MARGIN = len(SYM6) // 4


def warp(x: Tensor, inverse: Tensor) -> Tensor:
    """Warps x (N, C, H, W): output position q shows the input at `inverse`·q (N, 3, 3), in pixels from the centre.

    The image is padded by reflection, by its side minus one pixel, and with 0 beyond. It is doubled with the sym6
    filter, sampled bilinearly, and halved with the same filter. Differentiable with respect to x any number of times.
    """
    height, width = x.shape[2:]
    if min(height, width) > 1:
        x = F.pad(x, (width - 1, width - 1, height - 1, height - 1), mode="reflect")
    x = _double(x)
    # From pixels of the doubled, padded output to those of the doubled input, both relative to the centre; an even
    # filter shifts the image by half a pixel.
    linear = inverse[:, :2, :2]
    moved = 2 * inverse[:, :2, 2] + 0.5 * linear.sum(2) - 0.5
    out = ((height + 2 * MARGIN) * 2, (width + 2 * MARGIN) * 2)
    grid = _grid(linear, moved, out, x.shape[2:])
    x = Sample.apply(x, grid)
    return _halve(x[:, :, 1:-1, 1:-1])


def _grid(linear: Tensor, moved: Tensor, out: tuple[int, int], source: torch.Size) -> Tensor:
    """Positions (N, H', W', 2) in `source`, in [-1, 1], for all pixels of an output of size `out`."""
    y, x = (torch.arange(side, dtype=linear.dtype, device=linear.device) - (side - 1) / 2 for side in out)
    # No matrix product, which a GPU may round to ten bits.
    a, t = linear[..., None, None], moved[..., None, None]
    found = [(a[:, i, 0] * x + a[:, i, 1] * y[:, None] + t[:, i]) * (2 / source[1 - i]) for i in (0, 1)]
    return torch.stack(found, 3)


@constant
def _taps(dtype: torch.dtype, device: torch.device) -> Tensor:
    return (torch.tensor(SYM6, dtype=torch.float64) / sum(SYM6)).to(device, dtype)


def _double(x: Tensor) -> Tensor:
    """Inserts zeros between the pixels, then filters with gain 2 along each axis."""
    n, c, h, w = x.shape
    taps, x = 2 * _taps(x.dtype, x.device), x.reshape(n * c, 1, h, w)
    x = F.conv_transpose2d(x, taps[None, None, None, :], stride=(1, 2), padding=(0, 5))
    x = F.conv_transpose2d(x, taps[None, None, :, None], stride=(2, 1), padding=(5, 0))
    return x.view(n, c, 2 * h, 2 * w)


def _halve(x: Tensor) -> Tensor:
    """Applies the mirrored filter, then keeps every second pixel."""
    n, c, h, w = x.shape
    taps, x = _taps(x.dtype, x.device), x.reshape(n * c, 1, h, w)
    x = F.conv2d(x, taps[None, None, None, :], stride=(1, 2))
    x = F.conv2d(x, taps[None, None, :, None], stride=(2, 1))
    return x.view(n, c, *x.shape[2:])


class Sample(torch.autograd.Function):
    """Bilinear samples of x (N, C, H, W) at `grid` (N, H', W', 2), 0 outside; torch's own is differentiable only once.

    This and `Spread` are each other's derivative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = x.shape[2:]
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (grid,) = ctx.saved_tensors
        return Spread.apply(g, grid, ctx.size), None


class Spread(torch.autograd.Function):
    """The transpose of `Sample`: accumulates g (N, C, H', W') at the sampled positions of (N, C, H, W)."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, grid: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(grid)
        empty = g.new_empty(*g.shape[:2], *size)
        spread, _ = torch.ops.aten.grid_sampler_2d_backward(g, empty, grid, 0, 0, False, [True, False])
        return spread

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (grid,) = ctx.saved_tensors
        return Sample.apply(g, grid), None, None
