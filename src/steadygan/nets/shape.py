"""The arguments that all backbones share."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Shape:
    """Inputs and outputs of a network.

    Attributes:
        size: side of the square images in pixels.
        channels: of the images, 1 or 3.
        classes: 0 for an unconditional network.
        latent: dimension of z; 0 for a discriminator, and for a generator that translates images.
        width: channels in units of the family.
    """

    size: int
    channels: int
    classes: int = 0
    latent: int = 0
    width: int = 64


class Shaped(nn.Module):
    """A network with the attributes of its shape: `size`, `channels`, `classes` and `latent`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.size, self.channels = shape.size, shape.channels
        self.classes, self.latent = shape.classes, shape.latent
