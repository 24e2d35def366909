"""The ways to spread images and merge products that convolutions are done by."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from steadygan.nets.winograd.native import Stencils
from steadygan.nets.winograd.stencils import Stencil, of_matrix


class Form(ABC):
    """A way to spread and merge. Images are (N, H, W, C), contiguous.

    scale: the output's sides in units of the input's. parts: P, of spread images. outputs: how many columns of factors
    belong to one channel of the output. growth: how many times the input all spread images or products are.
    """

    scale: int = 1
    parts: int = 1
    outputs: int = 1
    growth: float

    @abstractmethod
    def factors(self, kernel: Tensor) -> Tensor:
        """The kernel → (P, C, outputs·C'), what the spread images are multiplied with."""

    @abstractmethod
    def kernel_of(self, factors: Tensor) -> Tensor:
        """The transpose of `factors`."""

    @abstractmethod
    def spread(self, x: Tensor, rectify: bool = False) -> Tensor:
        """(n, H, W, C) → (P, t, C), of relu(x) with `rectify`."""

    @abstractmethod
    def collect(self, a: Tensor, b: Tensor, x: Tensor, mask: Tensor | None = None) -> None:
        """The transpose of `spread`, of the products a·b, (P, t, K) and (P, K, C), written into x.

        Zero where a mask (n, H, W, C) is not positive.
        """

    @abstractmethod
    def merge(self, products: Tensor, y: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> None:
        """(P, t, outputs·C') → (n, H', W', C'), written into y, plus a bias (C',); zero where a mask isn't positive."""

    @abstractmethod
    def scatter(self, y: Tensor, rectify: bool = False) -> Tensor:
        """The transpose of `merge`, without the bias, of relu(y) with `rectify`."""


class Tiles(Form):
    """Tiles of s×s pixels, spread into l² parts; sides are multiples of s.

    Along one axis a kernel becomes l factors by a matrix (l, 3), pixels become l sums by `spread` (l, s + 2), of a
    tile and of a pixel on either side, and l products become s pixels by `merge` (s, l).
    """

    def __init__(self, kernel: list[list[float]], spread: list[list[float]], merge: list[list[float]]) -> None:
        self.side, self.lines = len(merge), len(kernel)
        self.parts, self.growth = self.lines**2, (self.lines / self.side) ** 2
        rows = torch.tensor(kernel, dtype=torch.float64)
        self._kernel = torch.kron(rows, rows)
        self._spread = of_matrix(spread, step=self.side, margin=1)
        self._merge = of_matrix(merge, step=self.lines, margin=0)
        self._stencils = Stencils(self._spread, self._merge)

    def factors(self, kernel: Tensor) -> Tensor:
        after, before = kernel.shape[:2]
        return (self._kernel.to(kernel.dtype) @ kernel.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, before, after)

    def kernel_of(self, factors: Tensor) -> Tensor:
        _, before, after = factors.shape
        kernel = self._kernel.to(factors.dtype).t() @ factors.view(len(factors), -1)
        return kernel.view(3, 3, before, after).permute(3, 2, 0, 1)

    def spread(self, x: Tensor, rectify: bool = False) -> Tensor:
        return self._apart(self._spread, x, rectify)

    def collect(self, a: Tensor, b: Tensor, x: Tensor, mask: Tensor | None = None) -> None:
        self._together(self._spread.transposed, torch.bmm(a, b), x, None, mask)

    def merge(self, products: Tensor, y: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> None:
        self._together(self._merge, products, y, bias, mask)

    def scatter(self, y: Tensor, rectify: bool = False) -> Tensor:
        return self._apart(self._merge.transposed, y, rectify)

    def _apart(self, stencil: Stencil, image: Tensor, rectify: bool) -> Tensor:
        tiles = cut(image, self.side)
        parts = image.new_empty(self.lines, self.lines, *tiles.shape[:3], image.shape[3])
        self._stencils(stencil, tiles, parts.permute(2, 3, 4, 0, 1, 5), rectify=rectify)
        return parts.view(self.parts, -1, image.shape[3])

    def _together(
        self, stencil: Stencil, parts: Tensor, image: Tensor, bias: Tensor | None, mask: Tensor | None
    ) -> None:
        tiles = cut(image, self.side)
        mask = None if mask is None else cut(mask, self.side)
        parts = parts.view(self.lines, self.lines, *tiles.shape[:3], image.shape[3])
        self._stencils(stencil, parts.permute(2, 3, 4, 0, 1, 5), tiles, bias, mask=mask)


class Doubling(Form):
    """Nearest-neighbour doubling, then the convolution: 9 products for 2×2 pixels.

    Along one axis, with k0, k1, k2 the kernel and s its sum, the products are (-k0 x[j], s x[j], -k2 x[j]) = (a, b, c);
    they merge into the pixels k0 x[j-1] + (k1 + k2) x[j] = b[j] + a[j] - a[j-1] and (k0 + k1) x[j] + k2 x[j+1] =
    b[j] + c[j] - c[j+1].
    """

    scale, outputs, growth = 2, 9, 9.0

    def __init__(self) -> None:
        self._merge = Stencil(3, (((0, 1, 1), (0, 0, 1), (-1, 0, -1)), ((0, 1, 1), (0, 2, 1), (1, 2, -1))))
        self._stencils = Stencils(self._merge)

    def kernel(self, weight: Tensor) -> Tensor:
        """(C', C, 3, 3) → (1, C, 9·C'), differentiable: the kernel that this form is called with."""
        rows = torch.stack([-weight[:, :, 0], weight.sum(2), -weight[:, :, 2]])
        factors = torch.stack([-rows[..., 0], rows.sum(3), -rows[..., 2]], 1)
        return factors.permute(3, 0, 1, 2).reshape(1, weight.shape[1], -1)

    def factors(self, kernel: Tensor) -> Tensor:
        return kernel

    def kernel_of(self, factors: Tensor) -> Tensor:
        return factors

    def spread(self, x: Tensor, rectify: bool = False) -> Tensor:
        return (x.relu() if rectify else x).view(1, -1, x.shape[3])

    def collect(self, a: Tensor, b: Tensor, x: Tensor, mask: Tensor | None = None) -> None:
        torch.bmm(a, b, out=x.view(1, -1, x.shape[3]))
        if mask is not None:
            x.masked_fill_(mask <= 0, 0)

    def merge(self, products: Tensor, y: Tensor, bias: Tensor | None = None, mask: Tensor | None = None) -> None:
        tiles = cut(y, 2)
        nine = products.view(*tiles.shape[:3], 3, 3, y.shape[3])
        self._stencils(self._merge, nine, tiles, bias, mask=None if mask is None else cut(mask, 2))

    def scatter(self, y: Tensor, rectify: bool = False) -> Tensor:
        tiles = cut(y, 2)
        nine = y.new_empty(*tiles.shape[:3], 3, 3, y.shape[3])
        self._stencils(self._merge.transposed, tiles, nine, rectify=rectify)
        return nine.view(1, -1, 9 * y.shape[3])


def cut(image: Tensor, side: int) -> Tensor:
    """(n, H, W, C) → (n, H/side, W/side, side, side, C), a view."""
    n, h, w, c = image.shape
    return image.view(n, h // side, side, w // side, side, c).transpose(2, 3)


PAIRS = Tiles(
    kernel=[[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    spread=[[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    merge=[[-1, 1, 1, 0], [0, 1, -1, -1]],
)
"""16 products for 2×2 pixels."""
QUADS = Tiles(
    kernel=[
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    spread=[
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    merge=[[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)
"""36 products for 4×4 pixels. Matrices: Lavin and Gray 2016, §4.3."""
DOUBLING = Doubling()
