"""Views and batches: the interfaces between views, losses and the batch.

`Batch` and `ScoredBatch` are the interface for third-party views and terms (docs/extending.md); `Bundle` implements
both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score

Transform = Callable[[Tensor, torch.Generator], Tensor]
"""A hashable `T(x, generator) -> x'`: x float (N, C, H, W), fresh per-sample randomness from `generator`."""

Origin = Literal["real", "fake"]
"""The origin of an image: "real" if no network was involved, "fake" if one was."""

ORIGINS: frozenset[Origin] = frozenset(("real", "fake"))


class Batch(Protocol):
    """One batch in one phase, as its views see it.

    Attributes:
        nets: the networks by name; only those of the player in training require gradients.
        prior: the distribution of latents and labels.
        generator: the source of all randomness, on the batch's device; draw with `parallel.share.rows`.
        size: samples in the batch, of this process.
        memories: the state from `View.memory` of each view that keeps some.
    """

    @property
    def nets(self) -> Mapping[str, nn.Module]: ...
    @property
    def prior(self) -> Prior: ...
    @property
    def generator(self) -> torch.Generator: ...
    @property
    def size(self) -> int: ...
    @property
    def memories(self) -> Mapping[View, nn.Module]: ...

    def __getitem__(self, view: View, /) -> Tensor:
        """The view's tensor (N, …), computed at the first request."""

    def labels(self, view: View, /) -> Tensor | None:
        """The view's labels (N,) int64; None if there are none."""

    def seen(self, view: View, /) -> Tensor:
        """The view as input of a discriminator: after DiffAugment, if any, with one draw for all terms."""

    def before_critic(self, image: Tensor, origin: Origin, /) -> Tensor:
        """An image (N, C, H, W) of that origin after a separate DiffAugment draw, if DiffAugment is on."""

    def generate(self, views: Iterable[View], /) -> None:
        """Computes every generated image that these views need, with one call per network."""


class ScoredBatch(Batch, Protocol):
    """A batch after generation and scoring, the input of a term's loss; scores are from the term's critic."""

    def D(self, view: View, /) -> Score:
        """D's `.logit` (N, …), `.pixels` and `.features` of a view in the term's `score` or `grads`."""

    def grad(self, view: View, /) -> Tensor:
        """∂(sum of logits)/∂(view as D sees it), with a graph, of a view in the term's `grads`."""


@dataclass(frozen=True)
class View:
    """An expression over one batch. Equal expressions share one tensor."""

    def inputs(self) -> tuple[View, ...]:
        """The views that this one is computed from."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, View))

    def origin(self) -> Origin:
        """ "fake" for every view that contains a network's image, such as a mix of real and fake."""
        return "fake" if any(view.origin() == "fake" for view in self.inputs()) else "real"

    def compute(self, b: Batch) -> Tensor:
        """Computes the tensor from its inputs in the batch. Raises KeyError for views that must be given."""
        raise KeyError(f"{self} is not part of this batch")

    def seen(self, b: Batch) -> Tensor:
        """The view as D's input: the tensor after DiffAugment, with its own random draw."""
        return b.before_critic(b[self], self.origin())

    def labels(self, b: Batch) -> Tensor | None:
        """The view's labels (N,): those of its first input."""
        return b.labels(self.inputs()[0])

    def memory(self) -> nn.Module | None:
        """New state that persists between batches and in checkpoints; None: no state."""
        return None

    def leaf(self, b: Batch) -> tuple[Tensor, Tensor]:
        """The tensor with respect to which D's score is differentiated, and D's input: here the same."""
        seen = b.seen(self).detach().requires_grad_()
        return seen, seen


def walk(views: Iterable[View]) -> Iterator[View]:
    """All views that these depend on, each once, in order of computation."""
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
