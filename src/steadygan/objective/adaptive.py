"""Augmentations that adapt to D: what steers them as a term, and fakes shown as reals (APA) as a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.objective.adversarial import AdversarialLoss
from steadygan.objective.batch import Batch, Origin, ScoredBatch, View
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Latent, Relabel
from steadygan.parallel.share import rows
from steadygan.transforms.adaptive import Controller


@dataclass(frozen=True)
class Deceived(View):
    """`real`, or with the controller's probability p an image of `fake`, with the reals' labels, and taken for a real.

    APA: Jiang et al., Deceive D, NeurIPS 2021, §3.2. The fakes are constants.
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
    """The game in which D is shown some fakes among the reals, made of latents of their own for the reals' classes."""
    latent: View = Latent(draw=2)
    if game.conditional:
        latent = Relabel(latent, game.real)
    return replace(game, deception=Deceived(game.real, Gen(game.fake.net, latent), controller))


def watch(terms: Sequence[Term], loss: AdversarialLoss, name: str, controller: Controller) -> tuple[Term, ...]:
    """Terms of weight 0 for D that show `controller` D's margin on reals, and log p (`name`_p) and r_t (`name`_r).

    terms: of one game; its adversarial term for D says what real and fake images are. Raises UserError for a loss whose
    logits say nothing of sides.
    """
    if controller.schedule is None and loss.boundary is None and not loss.needs_reals:
        raise UserError(
            f"augment.{name} adapts to the sign of D's logit on reals, which says nothing with this "
            f"objective.loss; choose another or set augment.{name}.p to a number"
        )
    pair = next((term.score for term in terms if (term.player, term.name) == ("D", "adversarial")), None)
    if pair is None:
        raise UserError(f"augment.{name} adapts to D's adversarial term, whose weight is 0; set augment.{name} to null")
    real, fake = pair
    return (
        Term(f"{name}_p", "D", Watcher(controller, loss, real, fake), score=(real, fake), weight=0.0),
        Term(f"{name}_r", "D", lambda b: controller.r.clone(), weight=0.0),
    )


class Watcher(nn.Module):
    """Shows a controller what D makes of the reals in D's phase; its value is the p of this phase."""

    def __init__(self, controller: Controller, loss: AdversarialLoss, real: View, fake: View) -> None:
        super().__init__()
        self.controller, self.loss, self.real, self.fake = controller, loss, real, fake

    def forward(self, b: ScoredBatch) -> Tensor:
        p = self.controller.p.clone()
        margin = self.loss.margin(b.D(self.real).logit, b.D(self.fake).logit)
        if margin is not None:
            self.controller.observe(margin.detach())
        return p
