"""The adversarial losses: what each player makes of the critic's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError, nearest
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term


class AdversarialLoss(NamedTuple):
    """Three functions of logits of any shape, each reduced by its mean: the critic's on reals and fakes, G's on fakes.

    boundary: the logit above which the critic takes an image for real; None when its scale has no such point.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    boundary: float | None = 0.0


LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al., NeurIPS 2014, §3: L_D = -log σ(D(x)) - log(1 - σ(D(g))), L_G = -log σ(D(g)).
    "non-saturating": AdversarialLoss(lambda d: F.softplus(-d), F.softplus, lambda d: F.softplus(-d)),
    # Lim and Ye, 2017; Miyato et al., ICLR 2018, eq. 16-17: L_D = max(0, 1 - D(x)) + max(0, 1 + D(g)), L_G = -D(g).
    "hinge": AdversarialLoss(lambda d: F.relu(1 - d), lambda d: F.relu(1 + d), lambda d: -d),
    # Arjovsky et al., ICML 2017, Alg. 1: L_D = D(g) - D(x), L_G = -D(g).
    "wasserstein": AdversarialLoss(lambda d: -d, lambda d: d, lambda d: -d, boundary=None),
    # Mao et al., ICCV 2017, eq. 9 (a = 0, b = c = 1): L_D = ½(D(x) - 1)² + ½D(g)², L_G = ½(D(g) - 1)².
    "least-squares": AdversarialLoss(
        lambda d: 0.5 * (d - 1).square(),
        lambda d: 0.5 * d.square(),
        lambda d: 0.5 * (d - 1).square(),
        boundary=0.5,
    ),
}


def adversarial(parts: Parts, *, loss: str = "hinge") -> tuple[Term, ...]:
    """The game itself: one term for D over real and fake, one for G over fake."""
    if loss not in LOSSES:
        raise UserError(f"objective.loss: unknown adversarial loss {loss!r}; {nearest(loss, LOSSES)}")
    real, fake, generator, _ = LOSSES[loss]
    x, g, judged = parts.judged_real, parts.shown_fake, parts.judged_fake

    def critic_loss(b: Bundle) -> Tensor:
        return real(b.D(x).logit).mean() + fake(b.D(g).logit).mean()

    def generator_loss(b: Bundle) -> Tensor:
        return generator(b.D(judged).logit).mean()

    return (
        Term("adversarial", "D", critic_loss, score=(x, g), weight=parts.game),
        Term("adversarial", "G", generator_loss, score=(judged,), weight=parts.generator_game),
    )
