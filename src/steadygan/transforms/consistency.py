"""The augmentation of consistency regularisation: flip, shift and cutout, independently for each image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.parallel.share import rows as draw


@dataclass(frozen=True)
class Consistency:
    """T of D(x) ≈ D(T(x)): random horizontal flip, integer shift, cutout, in this order, drawn for each image.

    Raises UserError, naming the argument, for a value outside its range. Sources: T of CR-GAN (Zhang et al.,
    Consistency Regularization for GANs, ICLR 2020), which ICR-GAN (Zhao et al., Improved Consistency Regularization for
    GANs, AAAI 2021, Algorithm 1) applies to reals and fakes. Radius and reflection follow StudioGAN; the papers' own
    radius is not verified.

    Attributes:
        flip: probability in [0, 1] of mirroring left and right.
        shift: radius as a fraction of the side, in [0, 0.5]; the shift along each axis is uniform over the integers in
            ±int(shift·side + 0.5), ±4 pixels at 32².
        cutout: side of the erased square as a fraction of the image's, in [0, 1]; its centre is uniform, so it may
            extend beyond the edge, and it is filled with 0, mid-grey.
        padding: of the border uncovered by a shift: "reflect" (edge not repeated) or "zero".
    """

    flip: float = 0.5
    shift: float = 0.125
    cutout: float = 0.0
    padding: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        for name, most in (("flip", 1.0), ("shift", 0.5), ("cutout", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UserError(f"{name} must be between 0 and {most:g}, got {value}")
        if self.padding not in ("reflect", "zero"):
            raise UserError(f"padding must be reflect or zero, got {self.padding!r}")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x: (N, C, H, W) floating, any range; generator: on x's device. Same shape, dtype and memory format.

        Differentiable with respect to x any number of times; does not synchronise with the device.
        """
        n, _, height, width = x.shape
        device = x.device
        rows = torch.arange(height, device=device).expand(n, height)
        columns = torch.arange(width, device=device).expand(n, width)
        keep: Tensor | None = None

        if self.flip:
            flipped = draw(torch.rand, (n, 1), generator) < self.flip
        if self.shift:
            # Indices are composed in reverse: the shift reads from the flipped image.
            rows, row_inside = self._shifted(rows, height, generator)
            columns, column_inside = self._shifted(columns, width, generator)
            if self.padding == "zero":
                keep = row_inside[:, :, None] & column_inside[:, None, :]
        if self.flip:
            columns = torch.where(flipped, width - 1 - columns, columns)
        if self.flip or self.shift:
            x = _gather(x, rows, columns)
        if self.cutout:
            hit = self._struck(n, height, generator, device)[:, :, None]
            hit = hit & self._struck(n, width, generator, device)[:, None, :]
            keep = ~hit if keep is None else keep & ~hit
        # masked_fill would lose channels-last.
        return x if keep is None else torch.where(keep[:, None], x, 0)

    def _shifted(self, index: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Source index of each of `side` positions after a random shift (N, side), and whether it is inside."""
        radius = int(self.shift * side + 0.5)
        offset = draw(partial(torch.randint, -radius, radius + 1), (len(index), 1), generator)
        index = index - offset
        inside = (index >= 0) & (index < side)
        if self.padding == "zero":
            return index.clamp(0, side - 1), inside
        return side - 1 - (side - 1 - index.abs()).abs(), inside

    def _struck(self, n: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Mask of the positions along one axis covered by the square (N, side)."""
        length = int(self.cutout * side + 0.5)
        # An even square is centred between pixels or on the edge, which gives one more position than pixels.
        centre = draw(partial(torch.randint, 0, side + 1 - length % 2), (n, 1), generator)
        from_start = torch.arange(side, device=device) - (centre - length // 2)
        return (from_start >= 0) & (from_start < length)


def _gather(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """x[n, :, rows[n, i], columns[n, j]] for all n, i, j in x's memory format. rows: (N, H), columns: (N, W)"""
    n, channels, height, width = x.shape
    place = rows[:, :, None] * width + columns[:, None, :]
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        start = torch.arange(n, device=x.device)[:, None, None] * (height * width)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        return pixels.index_select(0, (start + place).flatten()).view(n, height, width, channels).permute(0, 3, 1, 2)
    return x.flatten(2).gather(2, place.view(n, 1, -1).expand(-1, channels, -1)).view(x.shape)
