"""The ways to spread images and merge products that `winograd.py` convolves by."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

Parts = tuple[Tensor, ...]


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
    def spread(self, x: Tensor) -> Tensor:
        """(n, H, W, C) → (P, t, C)."""

    @abstractmethod
    def collect(self, spread: Tensor, x: Tensor) -> None:
        """The transpose of `spread`, written into x."""

    @abstractmethod
    def merge(self, products: Tensor, y: Tensor) -> None:
        """(P, t, outputs·C') → (n, H', W', C'), written into y."""

    @abstractmethod
    def scatter(self, y: Tensor) -> Tensor:
        """The transpose of `merge`."""


class Pairs(Form):
    """16 products for 2×2 pixels; sides are even.

    Along one axis the pixels x[2t-1] to x[2t+2] are spread into (x[2t+1] - x[2t-1], x[2t] + x[2t+1], x[2t+1] - x[2t],
    x[2t] - x[2t+2]); products (a, b, c, d) merge into the pixels b + c - a and b - c - d.
    """

    parts, growth = 16, 4.0

    def factors(self, kernel: Tensor) -> Tensor:
        return _factors(PAIRS_KERNEL, kernel)

    def kernel_of(self, factors: Tensor) -> Tensor:
        return _kernel_of(PAIRS_KERNEL, factors)

    def spread(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        rows = x.new_empty(4, n, h // 2, w, c)
        self._spread(x.view(n, h // 2, 2, w, c).unbind(2), rows.unbind(0), 1)
        spread = x.new_empty(4, 4, n, h // 2, w // 2, c)
        self._spread(rows.view(4, n, h // 2, w // 2, 2, c).unbind(4), spread.unbind(1), 3)
        return spread.view(16, -1, c)

    def collect(self, spread: Tensor, x: Tensor) -> None:
        n, h, w, c = x.shape
        rows = x.new_empty(4, n, h // 2, w, c)
        columns = spread.view(4, 4, n, h // 2, w // 2, c).unbind(1)
        self._collect(columns, rows.view(4, n, h // 2, w // 2, 2, c).unbind(4), 3)
        self._collect(rows.unbind(0), x.view(n, h // 2, 2, w, c).unbind(2), 1)

    def merge(self, products: Tensor, y: Tensor) -> None:
        n, h, w, c = y.shape
        rows = y.new_empty(4, n, h // 2, w, c)
        columns = products.view(4, 4, n, h // 2, w // 2, c).unbind(1)
        self._merge(columns, rows.view(4, n, h // 2, w // 2, 2, c).unbind(4))
        self._merge(rows.unbind(0), y.view(n, h // 2, 2, w, c).unbind(2))

    def scatter(self, y: Tensor) -> Tensor:
        n, h, w, c = y.shape
        rows = y.new_empty(4, n, h // 2, w, c)
        self._scatter(y.view(n, h // 2, 2, w, c).unbind(2), rows.unbind(0))
        products = y.new_empty(4, 4, n, h // 2, w // 2, c)
        self._scatter(rows.view(4, n, h // 2, w // 2, 2, c).unbind(4), products.unbind(1))
        return products.view(16, -1, c)

    @staticmethod
    def _spread(pixels: Parts, spread: Parts, axis: int) -> None:
        (even, odd), (a, b, c, d) = pixels, spread
        torch.add(even, odd, out=b)
        torch.sub(odd, even, out=c)
        _minus_next(even, axis, out=d)
        _minus_last(odd, axis, out=a)

    @staticmethod
    def _collect(spread: Parts, pixels: Parts, axis: int) -> None:
        (a, b, c, d), (even, odd) = spread, pixels
        torch.sub(b, c, out=even).add_(d)
        torch.add(b, c, out=odd).add_(a)
        _later(even, axis).sub_(_sooner(d, axis))
        _sooner(odd, axis).sub_(_later(a, axis))

    @staticmethod
    def _merge(products: Parts, pixels: Parts) -> None:
        (a, b, c, d), (even, odd) = products, pixels
        torch.add(b, c, out=even).sub_(a)
        torch.sub(b, c, out=odd).sub_(d)

    @staticmethod
    def _scatter(pixels: Parts, products: Parts) -> None:
        (even, odd), (a, b, c, d) = pixels, products
        torch.neg(even, out=a)
        torch.add(even, odd, out=b)
        torch.sub(even, odd, out=c)
        torch.neg(odd, out=d)


class Quads(Form):
    """36 products for 4×4 pixels; sides are multiples of 4. Matrices: Lavin and Gray 2016, §4.3."""

    parts, growth = 36, 2.25

    def factors(self, kernel: Tensor) -> Tensor:
        return _factors(QUADS_KERNEL, kernel)

    def kernel_of(self, factors: Tensor) -> Tensor:
        return _kernel_of(QUADS_KERNEL, factors)

    def spread(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        padded = F.pad(x, (0, 0, 1, 1, 1, 1))
        per_image, down, across, _ = padded.stride()
        strides = down, across, per_image, 4 * down, 4 * across, 1
        tiles = padded.as_strided((6, 6, n, h // 4, w // 4, c), strides).reshape(36, -1)
        return (QUADS_SPREAD.to(x.dtype) @ tiles).view(36, -1, c)

    def collect(self, spread: Tensor, x: Tensor) -> None:
        n, h, w, c = x.shape
        tiles = QUADS_SPREAD.to(x.dtype).t() @ spread.view(36, -1)
        tiles = tiles.view(6, 6, n, h // 4, w // 4, c).transpose(0, 1)
        columns = self._overlap(tiles, x.new_empty(6, n, h // 4, w + 2, c), 3)
        x.copy_(self._overlap(columns[:, :, :, 1:-1], x.new_empty(n, h + 2, w, c), 1)[:, 1:-1])

    @staticmethod
    def _overlap(tiles: Tensor, line: Tensor, axis: int) -> Tensor:
        """Lays the six parts of tiles four apart along an axis; where two overlap, they are added."""
        side = line.shape[axis] - 2
        line.narrow(axis, side, 2).zero_()
        for i, part in enumerate(tiles):
            place = line.narrow(axis, i, side - 3).movedim(axis, 0)[::4].movedim(0, axis)
            place.copy_(part) if i < 4 else place.add_(part)
        return line

    def merge(self, products: Tensor, y: Tensor) -> None:
        n, h, w, c = y.shape
        pixels = (QUADS_MERGE.to(y.dtype) @ products.view(36, -1)).view(4, 4, n, h // 4, w // 4, c)
        y.view(n, h // 4, 4, w // 4, 4, c).copy_(pixels.permute(2, 3, 0, 4, 1, 5))

    def scatter(self, y: Tensor) -> Tensor:
        n, h, w, c = y.shape
        pixels = y.view(n, h // 4, 4, w // 4, 4, c).permute(2, 4, 0, 1, 3, 5).reshape(16, -1)
        return (QUADS_MERGE.to(y.dtype).t() @ pixels).view(36, -1, c)


class Doubling(Form):
    """Nearest-neighbour doubling, then the convolution: 9 products for 2×2 pixels.

    Along one axis, with k0, k1, k2 the kernel and s its sum, the products are (-k0 x[j], s x[j], -k2 x[j]) = (a, b, c);
    they merge into the pixels k0 x[j-1] + (k1 + k2) x[j] = b[j] + a[j] - a[j-1] and (k0 + k1) x[j] + k2 x[j+1] =
    b[j] + c[j] - c[j+1].
    """

    scale, outputs, growth = 2, 9, 9.0

    def kernel(self, weight: Tensor) -> Tensor:
        """(C', C, 3, 3) → (1, C, 9·C'), differentiable: the kernel that this form is called with."""
        rows = torch.stack([-weight[:, :, 0], weight.sum(2), -weight[:, :, 2]])
        factors = torch.stack([-rows[..., 0], rows.sum(3), -rows[..., 2]], 1)
        return factors.permute(3, 0, 1, 2).reshape(1, weight.shape[1], -1)

    def factors(self, kernel: Tensor) -> Tensor:
        return kernel

    def kernel_of(self, factors: Tensor) -> Tensor:
        return factors

    def spread(self, x: Tensor) -> Tensor:
        return x.view(1, -1, x.shape[3])

    def collect(self, spread: Tensor, x: Tensor) -> None:
        x.copy_(spread.view(x.shape))

    def merge(self, products: Tensor, y: Tensor) -> None:
        n, h, w, c = y.shape
        rows = y.new_empty(n, h, w // 2, 3, c)
        nine = products.view(n, h // 2, w // 2, 3, 3, c)
        self._merge(nine.unbind(3), rows.view(n, h // 2, 2, w // 2, 3, c).unbind(2), 1)
        self._merge(rows.unbind(3), y.view(n, h, w // 2, 2, c).unbind(3), 2)

    def scatter(self, y: Tensor) -> Tensor:
        n, h, w, c = y.shape
        rows = y.new_empty(n, h, w // 2, 3, c)
        self._scatter(y.view(n, h, w // 2, 2, c).unbind(3), rows.unbind(3), 2)
        nine = y.new_empty(n, h // 2, w // 2, 3, 3, c)
        self._scatter(rows.view(n, h // 2, 2, w // 2, 3, c).unbind(2), nine.unbind(3), 1)
        return nine.view(1, -1, 9 * c)

    @staticmethod
    def _merge(products: Parts, pixels: Parts, axis: int) -> None:
        (a, b, c), (even, odd) = products, pixels
        torch.add(b, a, out=even)
        torch.add(b, c, out=odd)
        _later(even, axis).sub_(_sooner(a, axis))
        _sooner(odd, axis).sub_(_later(c, axis))

    @staticmethod
    def _scatter(pixels: Parts, products: Parts, axis: int) -> None:
        (even, odd), (a, b, c) = pixels, products
        torch.add(even, odd, out=b)
        _minus_next(even, axis, out=a)
        _minus_last(odd, axis, out=c)


def _sooner(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)


def _later(x: Tensor, axis: int) -> Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)


def _minus_next(x: Tensor, axis: int, out: Tensor) -> None:
    """x[j] - x[j+1], beyond the end zero."""
    torch.sub(_sooner(x, axis), _later(x, axis), out=_sooner(out, axis))
    out.select(axis, -1).copy_(x.select(axis, -1))


def _minus_last(x: Tensor, axis: int, out: Tensor) -> None:
    """x[j] - x[j-1], before the start zero."""
    torch.sub(_later(x, axis), _sooner(x, axis), out=_later(out, axis))
    out.select(axis, 0).copy_(x.select(axis, 0))


def _squared(rows: list[list[float]]) -> Tensor:
    """The matrix for both axes at once of one for a single axis."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(matrix, matrix)


def _factors(squared: Tensor, kernel: Tensor) -> Tensor:
    after, before = kernel.shape[:2]
    return (squared.to(kernel.dtype) @ kernel.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, before, after)


def _kernel_of(squared: Tensor, factors: Tensor) -> Tensor:
    _, before, after = factors.shape
    kernel = squared.to(factors.dtype).t() @ factors.view(len(factors), -1)
    return kernel.view(3, 3, before, after).permute(3, 2, 0, 1)


PAIRS_KERNEL = _squared([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]])
QUADS_SPREAD = _squared(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
QUADS_KERNEL = _squared(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
QUADS_MERGE = _squared([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
PAIRS, QUADS, DOUBLING = Pairs(), Quads(), Doubling()
