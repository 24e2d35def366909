"""Differentiable augmentation of all inputs of D (Zhao et al., DiffAugment, NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from steadygan.errors import UserError, nearest
from steadygan.parallel.share import rows
from steadygan.transforms.consistency import Consistency


def color(x: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, saturation and contrast, in this order, independently for each image, without clamping.

    x + U(-0.5, 0.5); the distance from the pixel's mean over channels times U(0, 2); the distance from the image's mean
    times U(0.5, 1.5). x: (N, C, H, W) in [-1, 1], differentiable.
    """
    brightness, saturation, contrast = rows(torch.rand, (3, len(x), 1, 1, 1), generator, dim=1, dtype=x.dtype)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


POLICIES: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = MappingProxyType(
    {
        "color": color,
        "translation": Consistency(flip=0, shift=0.125, padding="zero"),
        "cutout": Consistency(flip=0, shift=0, cutout=0.5),
    }
)


@dataclass(frozen=True)
class DiffAugment:
    """T of D(T(x)) and D(T(G(z))): the named policies in order, always applied, drawn independently for each image.

    color: see there. translation: integer shifts of up to ±1/8 of the side, filled with zero (mid-grey). cutout: a grey
    square of half the side, which may extend beyond the edge. Raises UserError for an unknown policy. Source: the
    paper's §3 and its official code, which agree.

    Attributes:
        policy: names of `POLICIES`, in order.
        images: number of images concatenated along the channels of x, such as an input and its translation (pix2pix);
            they share one draw.
    """

    policy: tuple[str, ...]
    images: int = 1

    def __post_init__(self) -> None:
        for name in self.policy:
            if name not in POLICIES:
                raise UserError(f"augment.diffaugment.policy: unknown {name!r}; {nearest(name, POLICIES)}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x: (N, images·C, H, W) floating in [-1, 1]; generator: on x's device. Same shape; color can leave [-1, 1]."""
        # The other images reuse the first one's random numbers.
        repeats = [generator.clone_state() for _ in range(self.images - 1)]
        parts = zip(x.chunk(self.images, 1), (generator, *repeats), strict=True)
        transformed = [self._draw(part, numbers) for part, numbers in parts]
        return transformed[0] if self.images == 1 else torch.cat(transformed, 1)

    def _draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        for name in self.policy:
            x = POLICIES[name](x, generator)
        return x
