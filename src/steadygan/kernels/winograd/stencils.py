"""Stencils: sums of adjacent lines along both axes of images, of which Winograd transforms consist.

An image is viewed as tiles (n, tiles down, tiles across, lines down, lines across, C), in any memory layout; a line is
C numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TermOfSum = tuple[int, int, float]
"""(o, i, k): k times line i of the tile at offset o (-1, 0 or 1)."""


@dataclass(frozen=True)
class Stencil:
    """Along one axis, line p of a tile of the target is the sum of sums[p]; tiles beyond the edge are zero.

    Attributes:
        lines: of a tile of the source.
    """

    lines: int
    sums: tuple[tuple[TermOfSum, ...], ...]

    @cached_property
    def transposed(self) -> Stencil:
        """The transpose, from the target's lines to the source's: also the derivative."""
        back: list[list[TermOfSum]] = [[] for _ in range(self.lines)]
        for p, terms in enumerate(self.sums):
            for away, i, factor in terms:
                back[i].append((-away, p, factor))
        return Stencil(len(self.sums), tuple(map(_own_first, back)))

    def __call__(
        self,
        source: Tensor,
        target: Tensor,
        bias: Tensor | None = None,
        *,
        rectify: bool = False,
        mask: Tensor | None = None,
    ) -> None:
        """Applies the sums.

        Args:
            source: (n, t, t', i, i, C).
            target: (n, t, t', p, p, C), written to.
            bias: (C,), added; or None.
            rectify: use relu(source).
            mask: shaped like target, which is zero where it is not positive; or None.
        """
        if target.dtype is not source.dtype:
            exact = torch.empty_like(target, dtype=source.dtype)
            self(source, exact, bias, rectify=rectify, mask=mask)
            target.copy_(exact)
            return
        source = source.relu() if rectify else source
        n, down, across, _, lines, c = source.shape
        rows = source.new_empty(len(self.sums), n, down, across, lines, c).permute(1, 2, 3, 0, 4, 5)
        self._along(1, source.unbind(3), rows.unbind(3))
        self._along(2, rows.unbind(4), target.unbind(4))
        if bias is not None:
            target += bias.to(target.dtype)
        if mask is not None:
            target.masked_fill_(mask <= 0, 0)

    def _along(self, axis: int, source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
        for line, terms in zip(target, self.sums, strict=True):
            (own, first, factor), *more = terms
            assert own == 0
            if factor == 1 and more:
                away, i, factor = more.pop(0)
                here, there = _meeting(line, away, axis), _meeting(source[i], -away, axis)
                torch.add(_meeting(source[first], away, axis), there, alpha=factor, out=here)
                if away:
                    edge = 0 if away < 0 else -1
                    line.select(axis, edge).copy_(source[first].select(axis, edge))
            else:
                torch.mul(source[first], factor, out=line)
            for away, i, factor in more:
                _meeting(line, away, axis).add_(_meeting(source[i], -away, axis), alpha=factor)


def of_matrix(rows: Sequence[Sequence[float]], *, step: int, margin: int) -> Stencil:
    """Tiles of `step` lines; column j of the matrix is for the line j - margin, counted from a tile's first."""
    sums = (
        tuple(((j - margin) // step, (j - margin) % step, factor) for j, factor in enumerate(row) if factor)
        for row in rows
    )
    return Stencil(step, tuple(map(_own_first, sums)))


def _own_first(terms: Sequence[TermOfSum]) -> tuple[TermOfSum, ...]:
    """Sorts terms: those of the tile itself first, and among these those with factor 1."""
    return tuple(sorted(terms, key=lambda term: (term[0] != 0, term[2] != 1)))


def _meeting(x: Tensor, away: int, axis: int) -> Tensor:
    """The tiles along an axis that have a neighbour at offset `away`."""
    return x.narrow(axis, max(0, -away), x.shape[axis] - abs(away))
