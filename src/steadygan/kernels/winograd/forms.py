"""The Winograd forms: transforms of input, kernel and output, and their sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steadygan.kernels.winograd import native
from steadygan.kernels.winograd.stencils import Stencil, of_matrix


@dataclass(frozen=True, eq=False)
class Form:
    """A convolution with 3 weights along one axis, with l products per tile; applied along both axes of images.

    A tile of the input is transformed into l sums, the kernel into l factors, and their products into a tile of the
    output. Images are (n, H, W, C), contiguous, with sides accepted by `suits`.
    """

    _kernel: Stencil
    _input: Stencil
    _output: Stencil

    @property
    def lines(self) -> int:
        """l, the number of products along one axis of a tile."""
        return len(self._input.sums)

    @property
    def parts(self) -> int:
        """P = l², the number of products per tile."""
        return self.lines**2

    @property
    def scale(self) -> int:
        """The output's sides in units of the input's."""
        return len(self._output.sums) // self._input.lines

    @property
    def growth(self) -> float:
        """The size of the transformed image, relative to the input."""
        return self.parts / self._input.lines**2

    def suits(self, h: int, w: int) -> bool:
        """Whether images with these sides can be cut into tiles."""
        return h % self._input.lines == 0 and w % self._input.lines == 0

    def factors(self, kernel: Tensor, dtype: torch.dtype) -> Tensor:
        """(C', C, 3, 3) → (P, C', C), the transformed kernel."""
        after, before = kernel.shape[:2]
        factors = kernel.new_empty(self.parts, after, before, dtype=dtype)
        lines = kernel.permute(0, 2, 3, 1).contiguous()[:, None, None]
        native.run(self._kernel, lines, self._tiles_of_factors(factors))
        return factors

    def kernel_of(self, factors: Tensor) -> Tensor:
        """The transpose of `factors`."""
        _, after, before = factors.shape
        kernel = factors.new_empty(after, 3, 3, before)
        native.run(self._kernel.transposed, self._tiles_of_factors(factors), kernel[:, None, None])
        return kernel.permute(0, 3, 1, 2)

    def transform_input(self, x: Tensor, rectify: bool = False) -> Tensor:
        """(n, H, W, C) → (P, t, C), of relu(x) with `rectify`; t: the number of tiles, or one more, of zeros."""
        return self._apart(self._input, x, rectify)

    def transform_input_transposed(self, parts: Tensor, x: Tensor, mask: Tensor | None = None) -> None:
        """The transpose of `transform_input`, written into x; zero where a mask (n, H, W, C) is not positive."""
        self._together(self._input.transposed, parts, x, None, mask)

    def transform_output(
        self, parts: Tensor, y: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> None:
        """Transforms products into the output.

        Args:
            parts: (P, t, C').
            y: (n, H', W', C'), written to.
            bias: (C',), added; or None.
            mask: (n, H', W', C'); y is zero where it is not positive. None: no mask.
        """
        self._together(self._output, parts, y, bias, mask)

    def transform_output_transposed(self, y: Tensor, rectify: bool = False) -> Tensor:
        """The transpose of `transform_output`, without the bias, of relu(y) with `rectify`."""
        return self._apart(self._output.transposed, y, rectify)

    def _apart(self, stencil: Stencil, image: Tensor, rectify: bool) -> Tensor:
        tiles = cut(image, stencil.lines)
        t = tiles.shape[:3].numel()
        parts = image.new_empty(self.parts, t | 1, image.shape[3])  # an even t would be slow: see docs/speed.md
        parts[:, t:].zero_()
        native.run(stencil, tiles, self._tiles_of(parts, tiles.shape[:3]), rectify=rectify)
        return parts

    def _together(
        self, stencil: Stencil, parts: Tensor, image: Tensor, bias: Tensor | None, mask: Tensor | None
    ) -> None:
        tiles = cut(image, len(stencil.sums))
        mask = None if mask is None else cut(mask, len(stencil.sums))
        native.run(stencil, self._tiles_of(parts, tiles.shape[:3]), tiles, bias, mask=mask)

    def _tiles_of(self, parts: Tensor, count: Sequence[int]) -> Tensor:
        """(P, t, C) → (n, tiles down, tiles across, l, l', C), a view."""
        tiles = parts[:, : math.prod(count)].unflatten(1, tuple(count)).unflatten(0, (self.lines, self.lines))
        return tiles.permute(2, 3, 4, 0, 1, 5)

    def _tiles_of_factors(self, factors: Tensor) -> Tensor:
        """(P, C', C) → (C', 1, 1, l, l', C), a view: one tile for each channel of the output."""
        return self._tiles_of(factors, (factors.shape[1], 1, 1))


def cut(image: Tensor, side: int) -> Tensor:
    """(n, H, W, C) → (n, H/side, W/side, side, side, C), a view."""
    n, h, w, c = image.shape
    return image.view(n, h // side, side, w // side, side, c).transpose(2, 3)


def form(kernel: list[list[float]], of_input: list[list[float]], of_output: list[list[float]]) -> Form:
    """Builds a form from matrices (Lavin and Gray's G, Bᵀ and Aᵀ).

    Args:
        kernel: (l, 3).
        of_input: (l, s + 2), for a tile of s pixels and one pixel on either side.
        of_output: (s', l), for a tile of s' pixels.
    """
    step = len(of_input[0]) - 2
    return Form(
        of_matrix(kernel, step=3, margin=0),
        of_matrix(of_input, step=step, margin=1),
        of_matrix(of_output, step=len(kernel), margin=0),
    )


PAIRS = form(
    kernel=[[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    of_input=[[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    of_output=[[-1, 1, 1, 0], [0, 1, -1, -1]],
)
"""F(2, 3): 4 products for 2 pixels instead of 6."""


def quads(a: float) -> Form:
    """F(4, 3): 6 products for 4 pixels instead of 12; interpolates at 0, ±a, ±1/a and infinity.

    Errors are smallest for a near 2/3: in bfloat16 less than half of those at 0, ±1, ±2 (Lavin and Gray 2016, §4.3).
    """
    b = 1 / a
    s = a * a + b * b
    at_a, at_b = 1 / (2 * a * a * (a * a - b * b)), 1 / (2 * b * b * (b * b - a * a))
    return form(
        kernel=[
            [1, 0, 0],
            *([at_a, sign * a * at_a, a * a * at_a] for sign in (1, -1)),
            *([at_b, sign * b * at_b, b * b * at_b] for sign in (1, -1)),
            [0, 0, 1],
        ],
        of_input=[
            [1, 0, -s, 0, 1, 0],
            *([0, -sign * a * b * b, -b * b, sign * a, 1, 0] for sign in (1, -1)),
            *([0, -sign * b * a * a, -a * a, sign * b, 1, 0] for sign in (1, -1)),
            [0, 1, 0, -s, 0, 1],
        ],
        of_output=[
            [1, 1, 1, 1, 1, 0],
            [0, a, -a, b, -b, 0],
            [0, a * a, a * a, b * b, b * b, 0],
            [0, a**3, -(a**3), b**3, -(b**3), 1],
        ],
    )


QUADS = quads(2 / 3)
DOUBLING = Form(
    of_matrix([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 1], [0, 1, 1]], step=3, margin=0),
    of_matrix(
        [[0, 1, -1, 0], [0, 1, -1, 0], [0, 0, 1, 0], [0, 0, -1, 1], [-1, 1, 0, 0]],
        step=2,
        margin=1,
    ),
    Stencil(5, (((0, 4, 1), (-1, 2, 1)), ((0, 0, 1), (0, 2, 1)), ((0, 1, 1), (0, 2, 1)), ((0, 3, 1), (0, 2, 1)))),
)
"""For an image with every pixel repeated: 5 products for 4 pixels instead of 12, or 8 folded.

For kernel k, its sum s and pixels x[0], x[1] of a tile, four pixels are
    y[0] = k0 x[-1] + (k1 + k2) x[0] = s x[-1] + (k1 + k2)(x[0] - x[-1])
    y[1] = (k0 + k1) x[0] + k2 x[1]  = s x[1] + (k0 + k1)(x[0] - x[1])
    y[2] = k0 x[0] + (k1 + k2) x[1]  = s x[1] + k0 (x[0] - x[1])
    y[3] = (k0 + k1) x[1] + k2 x[2]  = s x[1] + k2 (x[2] - x[1]),
where s x[-1] was already computed for the tile before.
"""
