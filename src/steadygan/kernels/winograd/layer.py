"""Layers with optional Winograd convolution, and its switch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.kernels.winograd import convolve as winograd
from steadygan.kernels.winograd.native import obstacle


class Winograd(nn.Module):
    """Base of layers with a kernel `weight` (C', C, k, k) that can use Winograd convolution.

    Attributes:
        winograd: whether to use it, if the input's sides allow; the result differs only by rounding.
    """

    weight: Tensor
    winograd: bool = False

    def suits_winograd(self) -> bool:
        """Whether the kernel is 3×3 and has enough channels for Winograd to be faster."""
        return self.weight.shape[2:] == (3, 3) and min(self.weight.shape[:2]) >= winograd.LEAST_CHANNELS


def pays(device: torch.device) -> bool:
    """Whether Winograd convolution is faster on a device: on a CPU with compiled transforms.

    On GPUs, and with torch's operators, the transforms cost more than the products save.
    """
    return device.type == "cpu" and obstacle() is None


def set_winograd(module: nn.Module, winograd: bool) -> int:
    """Switches Winograd convolution on or off in every suitable layer; returns their number.

    `pays` tells whether it is faster. With `fold` off, convolutions next to a resampling use it at the larger size.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Winograd) and layer.suits_winograd()]
    for layer in layers:
        layer.winograd = winograd
    return len(layers)
