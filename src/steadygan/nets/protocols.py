"""The interfaces of networks: two protocols that all have, and optional abilities.

A network is an `nn.Module` and needs no base class (`nets.shape.Shaped` sets the attributes). What is optional is a
separate protocol, checked with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from steadygan.nets.layers import Score

Stages: TypeAlias = Sequence[Sequence[nn.Module]]


class GeneratorNet(Protocol):
    """G(z (N, latent), y (N,) int64 or None) → images (N, channels, size, size), about in [-1, 1].

    y may also be weights (N, classes) float, see `labels.look_up`. A generator of images from images has latent 0 and
    is given images in place of z.
    """

    size: int
    channels: int
    classes: int
    latent: int

    def __call__(self, z: Tensor, y: Tensor | None = None) -> Tensor: ...


class CriticNet(Protocol):
    """D(x (N, channels, size, size) in [-1, 1], y (N,) int64 or None) → `Score`, with `pixels` if D scores them."""

    size: int
    channels: int
    classes: int

    def __call__(self, x: Tensor, y: Tensor | None = None) -> Score: ...


@runtime_checkable
class Mapped(Protocol):
    """A generator with an intermediate latent w, as StyleGAN's: path length regularisation and interpolation use it.

    Its `forward` takes a third argument `truncation`, which pulls w to its average where others redraw z.
    """

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """w (N, layers, w_dim) of z (N, latent) and y (N,)."""

    def synthesise(self, w: Tensor) -> Tensor:
        """Images (N, channels, size, size) of w (N, layers, w_dim)."""

    def truncate(self, w: Tensor, truncation: float | None) -> Tensor:
        """w̄ + truncation·(w - w̄), w̄ the average of w; None changes nothing."""


@runtime_checkable
class Mixing(Protocol):
    """A `Mapped` generator that mixes styles while it trains."""

    def styles(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """w (N, layers, w_dim) of z and y as its `forward` takes it: mixed in training mode, else `map`."""


@runtime_checkable
class Staged(Protocol):
    """A discriminator of blocks, of which `train.freeze_critic` can freeze the first."""

    def stages(self) -> Stages:
        """The blocks in the order an image meets them, each as the modules it consists of.

        What comes before the first block belongs to it; what comes after the last always learns.
        """


@runtime_checkable
class Scaled(Protocol):
    """A layer, or a whole generator, that knows its gains and biases, all that `train.adapt=scale-shift` trains."""

    def scale_and_shift(self) -> Iterable[nn.Parameter]:
        """The parameters of its normalisations."""
