"""The phases of a step: who minimises what, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from steadygan.config import TrainConfig
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.objective.adversarial import AdversarialLoss
from steadygan.objective.batch import Origin, Transform, walk
from steadygan.objective.registry import PLACEMENTS
from steadygan.objective.terms import Term
from steadygan.objective.views import Real
from steadygan.parallel.share import Share


@dataclass
class Objective:
    """Who minimises what, and when.

    Attributes:
        players: the names of the networks that each player's optimiser trains.
        terms: what they minimise.
        loss: the adversarial loss among them.
        phases: which player is updated when, in one step.
        prior: of latents and labels.
        pre_d: what images pass through on their way into a discriminator.
        pre_d_on: which images do, by whose phase it is.
        joint: whether all views are scored in one pass.
        frozen: parameters that no phase moves, as `network.parameter`.
        sizes: samples in a phase of a player, where not those of the batch of reals.
        lazy_apart: terms with an `every` above 1 have updates of their own.
    """

    players: Mapping[str, tuple[str, ...]]
    terms: tuple[Term, ...]
    loss: AdversarialLoss
    phases: tuple[str, ...]
    prior: Prior
    pre_d: Transform | None = None
    pre_d_on: Mapping[str, frozenset[Origin]] = field(default_factory=lambda: PLACEMENTS["both"])
    joint: bool = True
    frozen: frozenset[str] = frozenset()
    sizes: Mapping[str, int] = field(default_factory=dict)
    lazy_apart: bool = False

    def updates(self, live: Sequence[Term]) -> list[list[Term]]:
        """The live terms of a phase, by the optimiser step that is taken on them: often ones first."""
        if not self.lazy_apart:
            return [list(live)]
        return [[term for term in live if term.every == every] for every in sorted({term.every for term in live})]

    def pace(self, player: str) -> float:
        """What the player's learning rate is multiplied by, and to the power of which its betas are taken.

        1/(1 + Σ 1/k) over the intervals k of updates apart, which is k/(k + 1) for one: as many steps more are each
        shorter, and remember longer (Karras et al., StyleGAN2, CVPR 2020, app. B).
        """
        mine = {term.every for term in self.terms if term.player == player and term.every > 1}
        return 1 / (1 + sum(1 / every for every in mine)) if self.lazy_apart else 1.0


def phase_sizes(train: TrainConfig, terms: Iterable[Term], share: Share) -> dict[str, int]:
    """How many samples a phase of a player has, where another number than reals.

    Raises:
        UserError: there are reals to look at in that phase, or the number cannot be shared out.
    """
    if train.g_batch_size is None:
        return {}
    looking = {term.name for term in terms if term.player == "G" for view in walk(term.needs) if isinstance(view, Real)}
    if looking and train.g_batch_size != train.batch:
        raise UserError(
            f"train.g_batch_size: phases of G look at reals too ({', '.join(sorted(looking))}), of which there are "
            "train.batch_size; set it to null"
        )
    if train.g_batch_size % (share.size * train.accumulate):
        raise UserError(f"train.g_batch_size {train.g_batch_size} is not divisible by the {share.size} processes")
    return {"G": train.g_batch_size}
