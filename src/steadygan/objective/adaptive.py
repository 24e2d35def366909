"""Adaptive augmentations: the term that controls them, and the view that presents fakes as reals (APA)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.objective.adversarial import AdversarialLoss
from steadygan.objective.batch import Batch, Origin, ScoredBatch, View
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Latent, Relabel
from steadygan.parallel.share import rows
from steadygan.transforms.adaptive import Adaptive, Controller


@dataclass(frozen=True)
class Deceived(View):
    """`real`, replaced with the controller's probability p by an image of `fake`, which D's loss treats as real.

    Labels are those of the reals. APA: Jiang et al., Deceive D, NeurIPS 2021, §3.2. The fakes are constants.
    """

    real: View
    fake: View
    controller: Controller

    def compute(self, b: Batch) -> Tensor:
        x = b[self.real]
        shape = (len(x),) + (1,) * (x.dim() - 1)
        deceiving = rows(torch.rand, shape, b.generator, dtype=x.dtype) < self.controller.p.to(x.dtype)
        return torch.where(deceiving, b[self.fake].detach(), x)

    def origin(self) -> Origin:
        return "real"


def deceived(game: Game, controller: Controller) -> Game:
    """A game in which some of D's reals are fakes, from separate latents and with the reals' classes."""
    latent: View = Latent(draw=2)
    if game.conditional:
        latent = Relabel(latent, game.real)
    return replace(game, deception=Deceived(game.real, Gen(game.fake.net, latent), controller))


def watch(
    terms: Sequence[Term], loss: AdversarialLoss, name: str, adaptive: Adaptive, *, key: str | None = None
) -> tuple[Term, ...]:
    """Terms of weight 0 for D that pass D's scores to an adaptive augmentation and log its reports as `name`_….

    Args:
        terms: of one game; the adversarial term for D defines real and fake images.
        loss: the adversarial loss.
        name: prefix of the logged names.
        adaptive: the augmentation.
        key: the key of `adaptive` below `augment`, for messages.

    Raises:
        UserError: the loss has no decision boundary, and `adaptive` needs one.
    """
    key = key or name
    if adaptive.needs_margin and loss.boundary is None and not loss.needs_reals:
        fixed = f" or set augment.{key}.p to a number" if isinstance(adaptive, Controller) else ""
        raise UserError(
            f"augment.{key} adapts to the sign of D's logit on reals, which has no meaning with this "
            f"objective.loss; choose another{fixed}"
        )
    pair = next((term.score for term in terms if (term.player, term.name) == ("D", "adversarial")), None)
    if pair is None:
        raise UserError(f"augment.{key} adapts to D's adversarial term, whose weight is 0; set augment.{key} to null")
    real, fake = pair
    keys = list(adaptive.report())
    if not keys:
        raise UserError(f"augment.{key}: report() must name at least one value")
    return (
        Term(f"{name}_{keys[0]}", "D", Watcher(adaptive, loss, real, fake), score=(real, fake), weight=0.0),
        *(Term(f"{name}_{key}", "D", partial(_reported, adaptive, key), weight=0.0) for key in keys[1:]),
    )


class Watcher(nn.Module):
    """Passes D's scores to an adaptive augmentation; its value is the first one reported before the update.

    Args:
        controller: the adaptive augmentation.
        loss: the adversarial loss, which defines D's margin.
        real: the reals as D's input.
        fake: the fakes as D's input.
    """

    def __init__(self, controller: Adaptive, loss: AdversarialLoss, real: View, fake: View) -> None:
        super().__init__()
        self.controller, self.loss, self.real, self.fake = controller, loss, real, fake

    def forward(self, b: ScoredBatch) -> Tensor:
        value = next(iter(self.controller.report().values())).clone()
        real, fake = b.D(self.real).logit, b.D(self.fake).logit
        margin = self.loss.margin(real, fake)
        self.controller.observe(real.detach(), fake.detach(), None if margin is None else margin.detach())
        return value


def _reported(adaptive: Adaptive, key: str, b: ScoredBatch) -> Tensor:
    return adaptive.report()[key].clone()
