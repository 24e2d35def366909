"""Convolutions fused with doubling or halving into one convolution with 2.25 times fewer multiplications.

Nearest-neighbour doubling followed by a 3×3 convolution is a transposed 4×4 convolution of stride 2; a 3×3 convolution
followed by the mean of 2×2 pixels is a 4×4 convolution of stride 2. Both 4×4 kernels are sums of four shifted copies of
the 3×3 kernel, so that only the order of summation changes: parameters, initialisation, spectral norm, edges and all
derivatives agree with the plain form.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.kernels.precision import without_autocast
from steadygan.kernels.winograd import convolve as winograd
from steadygan.nets.layers import Conv2d
from steadygan.nets.spectral_norm import PLAIN, Spectral


def upsample(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C, 2H, 2W), nearest neighbour."""
    with without_autocast(x):  # which on a GPU would cast everything resampled to float32
        return F.interpolate(x, scale_factor=2, mode="nearest")


def downsample(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, C, H/2, W/2), the mean of 2×2 pixels."""
    return F.avg_pool2d(x, 2)


def spread(kernel: Tensor) -> Tensor:
    """(…, 3, 3) → (…, 4, 4): the mean of four copies of the kernel, shifted to the corners."""
    return F.avg_pool2d(kernel, 2, stride=1, padding=1)


def folded(kernel: Tensor) -> Tensor:
    """The transposed kernel (C, C', 4, 4) equivalent to doubling followed by a convolution with `kernel` (C', C, 3, 3).

    Channels-last if the kernel is, because torch chooses the format of images by their kernel.
    """
    both = spread(4 * kernel.flip(2, 3)).transpose(0, 1)
    last = kernel.is_contiguous(memory_format=torch.channels_last)
    return both.contiguous(memory_format=torch.channels_last) if last else both


class ResamplingConv2d(Conv2d):
    """A 3×3 convolution with padding 1, next to a resampling by two. `fold` affects speed, not the result.

    Args:
        before: channels of the input.
        after: channels of the output.
        bias: whether there is a bias.
        spectral: spectral norm of the kernel.
    """

    fold: bool = True

    def __init__(self, before: int, after: int, *, bias: bool = True, spectral: Spectral = PLAIN) -> None:
        super().__init__(before, after, 3, padding=1, bias=bias, spectral=spectral)

    @property
    def changes(self) -> bool:
        return self.spectral_norm or self.fold


class UpConv2d(ResamplingConv2d):
    """(N, C, H, W) → (N, C', 2H, 2W): nearest-neighbour doubling, then the convolution."""

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        if not self.fold:
            return super().forward(upsample(F.relu(x) if rectify else x))
        kernel = self.kernel()
        if self.winograd:
            if form := winograd.doubling_for(x, scale=1):
                return winograd.convolve(form, x, kernel, self.bias, rectify=rectify)
            kernel = folded(kernel)
        return F.conv_transpose2d(F.relu(x) if rectify else x, kernel, self.bias, stride=2, padding=1)

    def shaped(self, weight: Tensor) -> Tensor:
        return folded(weight) if self.fold and not self.winograd else weight


class DownConv2d(ResamplingConv2d):
    """(N, C, H, W) → (N, C', H/2, W/2): the convolution, then the mean of 2×2 pixels. Folded, H and W must be even."""

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        if not self.fold:
            return downsample(super().forward(x, rectify=rectify))
        kernel = self.kernel()
        if self.winograd:
            if form := winograd.doubling_for(x, scale=2):
                return winograd.convolve_back(form, x, kernel, self.bias, rectify=rectify)
            kernel = folded(kernel)
        return F.conv2d(F.relu(x) if rectify else x, kernel, self.bias, stride=2, padding=1)

    def shaped(self, weight: Tensor) -> Tensor:
        if self.fold and self.winograd:
            return weight.flip(2, 3).transpose(0, 1) / 4  # a halving is the transpose of a doubling
        return spread(weight) if self.fold else weight


def set_folding(module: nn.Module, fold: bool) -> None:
    """Sets `fold` of every resampling convolution in `module`."""
    for layer in module.modules():
        if isinstance(layer, ResamplingConv2d):
            layer.fold = fold
