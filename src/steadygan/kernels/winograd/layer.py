"""Layers that can convolve with fewer products, and the switch that tells them to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.kernels.winograd import convolve as winograd
from steadygan.kernels.winograd.native import obstacle


class Winograd(nn.Module):
    """The part shared by layers with a kernel `weight` (C', C, k, k) that can convolve with fewer products.

    winograd: whether they do, where the input's sides allow it; the result differs by rounding alone.
    """

    weight: Tensor
    winograd: bool = False

    def suits_winograd(self) -> bool:
        """Whether the kernel is 3×3 and has enough channels for Winograd to be faster."""
        return self.weight.shape[2:] == (3, 3) and min(self.weight.shape[:2]) >= winograd.LEAST_CHANNELS


def pays(device: torch.device) -> bool:
    """Whether Winograd convolution is faster there: on a CPU with compiled kernels for its transforms.

    On GPUs the transforms would cost more than the products save; torch's operators gain nothing.
    """
    return device.type == "cpu" and obstacle() is None


def set_winograd(module: nn.Module, winograd: bool) -> int:
    """Switches the Winograd transform on or off in every convolution that suits it; returns how many do.

    `pays` says where it is faster. With `fold` off, convolutions next to a resampling use it at the larger size.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Winograd) and layer.suits_winograd()]
    for layer in layers:
        layer.winograd = winograd
    return len(layers)
