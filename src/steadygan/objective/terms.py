"""Terms: one scalar for one player, and the views it needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.objective.views import Gen, Latent, Real, Transform, View
from steadygan.schedules import Schedule, value

if TYPE_CHECKING:
    from steadygan.objective.bundle import Bundle

Builder = TypeVar("Builder", bound=Callable[..., object])


@dataclass(frozen=True)
class Term:
    """One scalar that one player minimises.

    name: its key in metrics.jsonl; player: whose parameters it trains; loss: bundle -> scalar tensor, and if it is an
    `nn.Module`, its buffers are the term's memory and part of every checkpoint; score: views the critic must see;
    grads: views whose critic gradient the loss reads with `b.grad(view)`; views: tensors only; critic: the network that
    scores; weight: its factor in the sum, a number or a schedule; every: evaluated in each `every`-th phase of its
    player and then multiplied by `every`, so that its average strength does not depend on it (lazy regularisation,
    Karras et al., CVPR 2020, §3.1); schedule: training step (from 0) -> a further factor.
    """

    name: str
    player: str
    loss: Callable[[Bundle], Tensor]
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
        """Whether the term takes part in its player's phase number `phase` (from 0)."""
        return phase % self.every == 0

    def strength(self, step: int) -> float:
        """Its factor in the sum in training step number `step` (from 0)."""
        return value(self.weight, step) * self.every * (1.0 if self.schedule is None else self.schedule(step))

    @property
    def needs(self) -> tuple[View, ...]:
        """All views the term declares."""
        return self.score + self.grads + self.views


@dataclass(frozen=True)
class Parts:
    """What the terms of one game, a generator against a critic, are written from.

    real, fake: the two sides of the game; augment: the T of consistency terms; pre_d: what everything the critic sees
    passes through, if anything; loss: the adversarial loss by name; game: the weight of the adversarial pair; nets,
    prior: those of the run, for builders that must refuse some (None: nothing is refused, and labels are taken not to
    exist). critic: the network that judges; suffix: what the names of the terms end in, where there are several games;
    deception: what the critic is given in place of the reals (`adaptive.Deceived`), None for the reals themselves.
    """

    real: Real
    fake: Gen
    augment: Transform | None = None
    loss: str = "hinge"
    game: float = 1.0
    nets: Mapping[str, nn.Module] | None = None
    prior: Prior | None = None
    pre_d: Transform | None = None
    critic: str = "D"
    suffix: str = ""
    deception: View | None = None

    @classmethod
    def of(
        cls,
        augment: Transform | None = None,
        *,
        nets: Mapping[str, nn.Module] | None = None,
        prior: Prior | None = None,
        pre_d: Transform | None = None,
    ) -> Parts:
        """Reals `x` against `G` of a latent."""
        return cls(Real(), Gen("G", Latent()), augment, nets=nets, prior=prior, pre_d=pre_d)

    def refuse(self, terms: Collection[str]) -> None:
        """Raises `UserError` when this kind of game has no room for one of the terms, by name."""

    @property
    def judged_real(self) -> View:
        """The reals as the critic is given them."""
        return self.real if self.deception is None else self.deception

    @property
    def judged_fake(self) -> View:
        """The fakes as the critic is given them in G's phase."""
        return self.fake

    @property
    def shown_fake(self) -> View:
        """The fakes as the critic is given them in its own phase."""
        return self.judged_fake

    @property
    def generator_game(self) -> float:
        """The weight of G's side of the adversarial pair."""
        return self.game

    @property
    def conditional(self) -> bool:
        """Whether images have labels."""
        return self.prior is not None and self.prior.label_pool is not None


def rewrites(rewrite: Callable[..., Parts]) -> Callable[[Builder], Builder]:
    """Marks a term builder that changes the parts from which *all* terms are written, its own among them.

    `rewrite(parts, **options) -> parts` gets the builder's options and runs before any builder. Only one of an
    objective's terms may change the fakes.
    """

    def mark(builder: Builder) -> Builder:
        builder.rewrite = rewrite  # type: ignore[attr-defined]
        return builder

    return mark
