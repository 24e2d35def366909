"""The arguments that all backbones share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from steadygan.errors import UserError


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


class WrongShape(UserError):
    """A shape of which a family has no network.

    Attributes:
        field: of `Shape`, such as "size".
        reason: what it must be, and what it is.
    """

    def __init__(self, field: str, reason: str, *, kind: str = "") -> None:
        super().__init__(f"{kind}: {field} {reason}" if kind else f"{field} {reason}")
        self.field, self.reason = field, reason


def check_size(size: int, sizes: Iterable[int]) -> None:
    """Raises WrongShape for a side, in pixels, that is not one of the family's."""
    if size not in (known := sorted(sizes)):
        raise WrongShape("size", f"must be one of {', '.join(map(str, known))}, got {size}")


class Shaped(nn.Module):
    """A network with the attributes of its shape: `size`, `channels`, `classes` and `latent`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.size, self.channels = shape.size, shape.channels
        self.classes, self.latent = shape.classes, shape.latent
