"""Shared layers: spectrally normalised convolution, linear layer and embedding, and the projection head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.winograd import convolve as winograd
from steadygan.kernels.winograd.layer import Winograd
from steadygan.nets.labels import look_up, required
from steadygan.nets.shape import check_size
from steadygan.nets.spectral_norm import PLAIN, Spectral, SpectralNorm

T = TypeVar("T")


class Score(NamedTuple):
    """The discriminator's output for N images.

    Attributes:
        logit: (N,), or (N, 1, h, w) of a discriminator of patches; unbounded, before any sigmoid.
        features: (N, F), the input of the last linear layer.
        pixels: (N, 1, H, W), one logit per pixel, of discriminators that have them.
    """

    logit: Tensor
    features: Tensor | None = None
    pixels: Tensor | None = None


def at_size(table: Mapping[int, T], size: int) -> T:
    """The row of a family's table for images of `size`². Raises UserError, naming the supported sizes."""
    check_size(size, table)
    return table[size]


class Conv2d(SpectralNorm, Winograd, nn.Conv2d):
    """torch's Conv2d, its kernel as a (C_out, C_in·k·k) matrix spectrally normalised on request."""

    def __init__(self, *args: Any, spectral: Spectral = PLAIN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_spectral_norm(spectral)

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        """rectify: convolve relu(x), which may be faster than a separate ReLU."""
        if self.winograd and (form := winograd.form_for(x)):
            return winograd.convolve(form, x, self.kernel(), self.bias, rectify=rectify)
        return self._conv_forward(F.relu(x) if rectify else x, self.kernel(), self.bias)

    def suits_winograd(self) -> bool:
        """Whether it is a 3×3 convolution with padding 1, stride 1 and enough channels."""
        plain = (self.stride, self.padding, self.dilation, self.groups) == ((1, 1), (1, 1), (1, 1), 1)
        return plain and self.padding_mode == "zeros" and super().suits_winograd()


class Linear(SpectralNorm, nn.Linear):
    """torch's Linear, spectrally normalised on request."""

    def __init__(self, *args: Any, spectral: Spectral = PLAIN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_spectral_norm(spectral)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.kernel(), self.bias)


class Embedding(SpectralNorm, nn.Embedding):
    """torch's Embedding, its whole (classes, F) table spectrally normalised on request."""

    def __init__(self, *args: Any, spectral: Spectral = PLAIN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_spectral_norm(spectral)

    def forward(self, y: Tensor) -> Tensor:
        """y: as for `look_up`."""
        return look_up(self.kernel(), y)


def set_sn_gain(module: nn.Module, gain: float) -> None:
    """Every spectrally normalised convolution in `module` multiplies with γ·W / σ(W), γ = `gain` for all of training.

    Miyato et al. (Spectral Normalization, ICLR 2018) give this reparametrisation with a learnt γ; here it is fixed. A
    normalised convolution halves differences between its inputs, roughly, because its largest singular value is far
    from a typical one, and the ReLU after it halves the energy; γ near 2 undoes that, and a deep discriminator without
    skips sees its image from the first step on.

    Raises:
        UserError: the gain is not positive.
    """
    if gain <= 0:
        raise UserError(f"sn_gain must be positive, got {gain:g}; 1 is plain spectral norm")
    for layer in module.modules():
        if isinstance(layer, Conv2d) and layer.spectral_norm:
            layer.sn_gain = gain


class Projection(nn.Module):
    """A discriminator's last layer: w·h + b, plus ⟨e_y, h⟩ when there are classes.

    Source: Miyato and Koyama, cGANs with Projection Discriminator, ICLR 2018, eq. 3.

    Args:
        features: length of h.
        classes: number of classes; 0: no projection.
        bias: whether there is a b.
        spectral: spectral norm of the layer and the embedding.
    """

    def __init__(self, features: int, classes: int, *, bias: bool = True, spectral: Spectral = PLAIN) -> None:
        super().__init__()
        self.linear = Linear(features, 1, bias=bias, spectral=spectral)
        self.embedding = Embedding(classes, features, spectral=spectral) if classes else None

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        """h: (N, F); y: (N,) int64, ignored without classes. Returns logits (N,)."""
        weight = self.linear.kernel()
        if self.embedding is not None:
            weight = weight + self.embedding(required(y))
        # A product and a sum stay in full precision under autocast, where a linear layer would round the logit;
        # consistency terms square differences of logits.
        logit = (h * weight).sum(1)
        return logit if self.linear.bias is None else logit + self.linear.bias
