"""The phases of a step: which player minimises which terms, and when."""

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
    """Which player minimises which terms, and when.

    Attributes:
        players: the names of the networks that each player's optimiser trains.
        terms: the terms they minimise.
        loss: the adversarial loss.
        phases: the players in the order of their updates in one step.
        prior: distribution of latents and labels.
        pre_d: transform applied to images before a discriminator.
        pre_d_on: which images are transformed, by the phase's player.
        joint: whether all views are scored in one pass.
        frozen: parameters that no phase updates, as `network.parameter`.
        sizes: samples per phase of a player, if different from the batch of reals.
        lazy_apart: whether terms with an `every` above 1 have optimiser steps of their own.
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
        """Groups the live terms of a phase by optimiser step: frequent terms first."""
        if not self.lazy_apart:
            return [list(live)]
        return [[term for term in live if term.every == every] for every in sorted({term.every for term in live})]

    def pace(self, player: str) -> float:
        """The factor c of lazy regularisation: the player's learning rate is multiplied by c and its betas become β^c.

        c = 1/(1 + Σ 1/k) over the intervals k of separate updates, k/(k + 1) for one: it compensates for the additional
        optimiser steps (Karras et al., StyleGAN2, CVPR 2020, app. B).
        """
        mine = {term.every for term in self.terms if term.player == player and term.every > 1}
        return 1 / (1 + sum(1 / every for every in mine)) if self.lazy_apart else 1.0


def phase_sizes(train: TrainConfig, terms: Iterable[Term], share: Share) -> dict[str, int]:
    """The number of samples per phase of a player, if different from the number of reals.

    Raises:
        UserError: terms of that phase use reals, or the number is not divisible by the processes.
    """
    if train.g_batch_size is None:
        return {}
    looking = {term.name for term in terms if term.player == "G" for view in walk(term.needs) if isinstance(view, Real)}
    if looking and train.g_batch_size != train.batch:
        raise UserError(
            f"train.g_batch_size: phases of G use reals too ({', '.join(sorted(looking))}), of which there are "
            "train.batch_size; set it to null"
        )
    if train.g_batch_size % (share.size * train.accumulate):
        raise UserError(f"train.g_batch_size {train.g_batch_size} is not divisible by the {share.size} processes")
    return {"G": train.g_batch_size}
