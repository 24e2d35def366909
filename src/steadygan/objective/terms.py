"""Terms: one scalar for one player, and the views it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.views import Gen, Latent, Real, Transform, View

if TYPE_CHECKING:
    from steadygan.objective.bundle import Bundle


@dataclass(frozen=True)
class Term:
    """One scalar that one player minimises.

    name: its key in metrics.jsonl; player: whose parameters it trains; loss: bundle -> scalar tensor;
    score: views the critic must see; grads: views whose critic gradient the loss reads with `b.grad(view)`;
    views: tensors only; critic: the network that scores; weight: its factor in the sum;
    every: evaluated in each `every`-th phase of its player and then multiplied by `every`, so that its average
    strength does not depend on it (lazy regularisation, Karras et al., CVPR 2020, §3.1).
    """

    name: str
    player: str
    loss: Callable[[Bundle], Tensor]
    score: tuple[View, ...] = ()
    grads: tuple[View, ...] = ()
    views: tuple[View, ...] = ()
    critic: str = "D"
    weight: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"objective.terms: every of {self.name} must be at least 1, got {self.every}")

    def live(self, phase: int) -> bool:
        """Whether the term takes part in its player's phase number `phase` (from 0)."""
        return phase % self.every == 0

    @property
    def needs(self) -> tuple[View, ...]:
        """All views the term declares."""
        return self.score + self.grads + self.views


@dataclass(frozen=True)
class Parts:
    """The views and the transform from which the terms of an unpaired image GAN are written."""

    real: Real
    fake: Gen
    augment: Transform | None = None

    @classmethod
    def of(cls, augment: Transform | None = None) -> Parts:
        """Reals `x` against `G` of a latent."""
        return cls(Real(), Gen("G", Latent()), augment)
