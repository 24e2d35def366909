"""Adversarial losses: each player's loss as a function of the logits of reals and fakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.options import find

Loss = Callable[[Tensor], Tensor]


class Sides(NamedTuple):
    """D's loss as two elementwise functions: of the logit of a real, and of the logit of a fake."""

    real: Loss
    fake: Loss


class AdversarialLoss(NamedTuple):
    """Losses of both players as functions of logits of equal shape, reduced to a scalar by the mean.

    Attributes:
        critic: (real, fake) → D's loss.
        generator: (fake, real) → G's loss; `real` is None unless `needs_reals`.
        boundary: the logit above which D classifies an image as real; None if the scale has no such point.
        undecided: D's loss if every logit is at the boundary; None if D's loss has no lower bound.
        needs_reals: whether each real is compared with a fake.
        sides: D's loss in two parts, for terms on reals or fakes alone; None if it cannot be split.
        halved: whether the formula already contains the ½ with which public translation code multiplies D's loss.
        about: the formula and its source, for `steadygan settings`.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    boundary: float | None
    undecided: float | None
    needs_reals: bool = False
    sides: Sides | None = None
    halved: bool = False
    about: str = ""

    @classmethod
    def of_sides(
        cls,
        real: Loss,
        fake: Loss,
        generator: Loss,
        *,
        boundary: float | None,
        undecided: float | None,
        halved: bool = False,
        about: str = "",
    ) -> AdversarialLoss:
        """Builds a loss from elementwise functions of single logits.

        Args:
            real: D's loss on a real's logit.
            fake: D's loss on a fake's logit.
            generator: G's loss on a fake's logit.
            boundary, undecided, halved, about: see the attributes.
        """
        return cls(
            critic=lambda x, g: real(x).mean() + fake(g).mean(),
            generator=lambda g, _: generator(g).mean(),
            boundary=boundary,
            undecided=undecided,
            sides=Sides(real, fake),
            halved=halved,
            about=about,
        )

    def margin(self, real: Tensor, fake: Tensor) -> Tensor | None:
        """D's margin on each real: the logit minus the boundary, or minus the logit of the fake it is compared with.

        None if logits have no boundary.
        """
        if self.needs_reals:
            return real - fake
        return None if self.boundary is None else real - self.boundary


def _fake_past_real(fake: Tensor, real: Tensor | None) -> Tensor:
    assert real is not None
    return F.softplus(real - fake).mean()


LOSSES: dict[str, AdversarialLoss] = {
    "non-saturating": AdversarialLoss.of_sides(
        lambda d: F.softplus(-d),
        F.softplus,
        lambda d: F.softplus(-d),
        boundary=0.0,
        undecided=2 * math.log(2),
        about="L_D = -log σ(D(x)) - log(1 - σ(D(g))), L_G = -log σ(D(g)) (Goodfellow et al., NeurIPS 2014, §3)",
    ),
    "hinge": AdversarialLoss.of_sides(
        lambda d: F.relu(1 - d),
        lambda d: F.relu(1 + d),
        lambda d: -d,
        boundary=0.0,
        undecided=2.0,
        about="L_D = max(0, 1 - D(x)) + max(0, 1 + D(g)), L_G = -D(g) (Lim and Ye, 2017; Miyato et al., ICLR 2018, "
        "eq. 16-17)",
    ),
    "wasserstein": AdversarialLoss.of_sides(
        lambda d: -d,
        lambda d: d,
        lambda d: -d,
        boundary=None,
        undecided=None,
        about="L_D = D(g) - D(x), L_G = -D(g) (Arjovsky et al., ICML 2017, Alg. 1)",
    ),
    "least-squares": AdversarialLoss.of_sides(
        lambda d: 0.5 * (d - 1).square(),
        lambda d: 0.5 * d.square(),
        lambda d: 0.5 * (d - 1).square(),
        boundary=0.5,
        undecided=0.25,
        halved=True,
        about="L_D = ½(D(x) - 1)² + ½D(g)², L_G = ½(D(g) - 1)² (Mao et al., ICCV 2017, eq. 9: a = 0, b = c = 1)",
    ),
    "relativistic": AdversarialLoss(
        critic=lambda x, g: F.softplus(g - x).mean(),
        generator=_fake_past_real,
        boundary=None,
        undecided=math.log(2),
        needs_reals=True,
        about="L_D = -log σ(D(x) - D(g)), L_G = -log σ(D(g) - D(x)), in pairs (RpGAN, Jolicoeur-Martineau, ICLR 2019)",
    ),
}


def find_loss(name: str) -> AdversarialLoss:
    """Finds a loss by name: one of `LOSSES`, or a custom one `module:NAME`.

    Raises:
        UserError: there is no such loss.
    """
    loss = find(name, LOSSES, where="objective.loss", noun="adversarial loss")
    if not isinstance(loss, AdversarialLoss):
        raise UserError(f"objective.loss: {name} must be an AdversarialLoss, not a {type(loss).__name__}")
    return loss
