"""Terms: a scalar loss for one player, and the views it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.batch import ScoredBatch, View
from steadygan.schedules import Schedule, value


@dataclass(frozen=True)
class Term:
    """One scalar that one player minimises.

    Attributes:
        name: its key in metrics.jsonl.
        player: the player whose parameters it trains, D or G.
        loss: function of a scored batch that returns a scalar. If it is an `nn.Module`, its buffers are state that is
            saved in every checkpoint.
        score: views that D scores, for `b.D(view)`.
        grads: views with respect to which D is differentiated, for `b.grad(view)`.
        views: views used only as tensors, `b[view]`.
        critic: the network that scores.
        weight: its factor in the sum, a number or a schedule.
        every: the term is evaluated in every n-th phase of its player and multiplied by n, so that its average strength
            does not depend on it (lazy regularisation, Karras et al., CVPR 2020, §3.1).
        schedule: function of the training step (from 0) that returns a further factor.
    """

    name: str
    player: str
    loss: Callable[[ScoredBatch], Tensor]
    score: tuple[View, ...] = ()
    grads: tuple[View, ...] = ()
    views: tuple[View, ...] = ()
    critic: str = "D"
    weight: float | Schedule = 1.0
    every: int = 1
    schedule: Callable[[int], float] | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"objective.terms: every of {self.name} must be at least 1, got {self.every}")

    def live(self, phase: int) -> bool:
        """Whether the term is evaluated in its player's phase number `phase` (from 0)."""
        return phase % self.every == 0

    def strength(self, step: int) -> float:
        """Its factor in the sum in training step number `step` (from 0)."""
        return value(self.weight, step) * self.every * (1.0 if self.schedule is None else self.schedule(step))

    @property
    def needs(self) -> tuple[View, ...]:
        """All views the term declares."""
        return self.score + self.grads + self.views
