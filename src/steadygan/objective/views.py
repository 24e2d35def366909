"""Views: values that name a tensor of this batch.

Every regulariser of the field is *which tensors it looks at* and *what scalar it makes of them*. A view is the first
half: a frozen, hashable expression. Equal expressions are the same tensor, computed once per batch, however many
terms ask for it. A new kind of view is a new subclass with a `compute`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from steadygan.objective.bundle import Bundle

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""A hashable `T(x, generator) -> x'`: x float (N, C, H, W), fresh per-sample randomness from `generator`."""


@dataclass(frozen=True)
class View:
    """An expression over one batch. Two equal expressions are one tensor."""

    def inputs(self) -> tuple[View, ...]:
        """The views this one is made of."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, View))

    def compute(self, b: Bundle) -> Tensor:
        """The tensor, given a bundle that holds the inputs. Raises KeyError when it can only come from outside."""
        raise KeyError(f"{self} is not part of this batch")

    def labels(self, b: Bundle) -> Tensor | None:
        """Whose labels (N,) it has: those of its first input."""
        return b.labels(self.inputs()[0])


@dataclass(frozen=True)
class Real(View):
    """The batch's training images, float (N, C, H, W) in [-1, 1], with their own labels."""

    domain: str = "x"


@dataclass(frozen=True)
class Latent(View):
    """z (N, latent) from the prior, with labels drawn for it. Each `draw` is another sample."""

    draw: int = 0

    def compute(self, b: Bundle) -> Tensor:
        return b.prior.latents(b.size, b.generator, dtype=b.dtype)

    def labels(self, b: Bundle) -> Tensor | None:
        return b.prior.labels(b.size, b.generator)


@dataclass(frozen=True)
class Gen(View):
    """The image that network `net` makes of `source`: (N, C, H, W) in [-1, 1], with the source's labels.

    All independent `Gen` views of one network are made in one call of it, with batch-norm statistics per view.
    """

    net: str
    source: View

    def compute(self, b: Bundle) -> Tensor:
        b.generate([self])
        return b[self]


@dataclass(frozen=True)
class Aug(View):
    """`transform` of a view with fresh random parameters per sample; each `draw` has its own."""

    transform: Transform
    source: View
    draw: int = 0

    def compute(self, b: Bundle) -> Tensor:
        return self.transform(b[self.source], b.generator)


@dataclass(frozen=True)
class Nudge(View):
    """z + Δz, Δz ~ N(0, sigma²) per element (ICR, Zhao et al., AAAI 2021, Alg. 2); sigma is a standard deviation."""

    source: View
    sigma: float

    def compute(self, b: Bundle) -> Tensor:
        z = b[self.source]
        return z + self.sigma * torch.randn(z.shape, generator=b.generator, device=z.device, dtype=z.dtype)


@dataclass(frozen=True)
class Lerp(View):
    """a + t·(b - a), one t ~ U(0, 1) per sample, with a's labels (WGAN-GP, Gulrajani et al., NeurIPS 2017, Alg. 1)."""

    a: View
    b: View

    def compute(self, b: Bundle) -> Tensor:
        start, end = b[self.a], b[self.b]
        shape = (len(start),) + (1,) * (start.dim() - 1)
        return start.lerp(end, torch.rand(shape, generator=b.generator, device=start.device, dtype=start.dtype))


def walk(views: Iterable[View]) -> Iterator[View]:
    """Every view these are made of, inputs before what uses them, each once."""
    seen: set[View] = set()

    def visit(view: View) -> Iterator[View]:
        if view not in seen:
            for source in view.inputs():
                yield from visit(source)
            if view not in seen:
                seen.add(view)
                yield view

    for view in views:
        yield from visit(view)
