"""Interfaces of networks: two required protocols, and optional ones.

A network is an `nn.Module` and needs no base class (`nets.shape.Shaped` sets the attributes). Optional abilities are
separate protocols, checked with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from steadygan.nets.layers import Score

Stages: TypeAlias = Sequence[Sequence[nn.Module]]


class GeneratorNet(Protocol):
    """G(z (N, latent), y (N,) int64 or None) → images (N, channels, size, size), about in [-1, 1].

    y may also be weights (N, classes) float, see `labels.look_up`. An image-to-image generator has latent 0 and takes
    images instead of z.
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

    Its `forward` takes a third argument `truncation`, which moves w towards its average; other generators redraw z.
    """

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """w (N, layers, w_dim) of z (N, latent) and y (N,)."""

    def synthesise(self, w: Tensor) -> Tensor:
        """Images (N, channels, size, size) of w (N, layers, w_dim)."""

    def truncate(self, w: Tensor, truncation: float | None) -> Tensor:
        """w̄ + truncation·(w - w̄), w̄ the average of w; None: w unchanged."""


@runtime_checkable
class Mixing(Protocol):
    """A `Mapped` generator with style mixing in training."""

    def styles(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """w (N, layers, w_dim) as used by `forward`: mixed in training mode, else `map`."""


@runtime_checkable
class Staged(Protocol):
    """A discriminator made of blocks, the first of which `train.freeze_critic` can freeze."""

    def stages(self) -> Stages:
        """The blocks from the image on, each as its modules.

        Layers before the first block belong to it; layers after the last are never frozen.
        """


@runtime_checkable
class Scaled(Protocol):
    """A layer or generator that declares its gains and biases, which `train.adapt=scale-shift` trains alone."""

    def scale_and_shift(self) -> Iterable[nn.Parameter]:
        """The parameters of its normalisations."""
