"""Consistency regularisation: CR, bCR, zCR. ICR is bCR and zCR together.

CR-GAN: Zhang et al., ICLR 2020. bCR, zCR, ICR: Zhao et al., "Improved Consistency Regularization for GANs",
AAAI 2021. Distances between logits are squared differences of the scalar before any activation, averaged over the
batch; distances between images are averaged over pixels and the batch (the paper writes a norm; its weights make
sense for the mean, which all public code takes). Neither side of a pair is detached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term
from steadygan.objective.views import Aug, Bare, Gen, Nudge, Transform, View
from steadygan.schedules import Weight


def cr(parts: Parts, *, weight: Weight = 10.0, target: Literal["augmented", "bare"] = "augmented") -> tuple[Term, ...]:
    """λ‖D(x) - D(T(x))‖² for the critic, on reals only (CR-GAN, §2).

    Under DiffAugment, A, it is λ‖D(A(x)) - D(T(A(x)))‖², both on the same draw of A. With `target` "bare" it is
    λ‖D(A(x)) - D(x)‖² instead: A itself is what the score must not depend on, and `augment.consistency` has no part in
    it. The official code of DiffAugment (Zhao et al., NeurIPS 2020) trains CR-BigGAN on 20 % and 10 % of CIFAR so.
    """
    x = parts.judged_real
    if target == "augmented":
        pair: tuple[View, View] = (x, Aug(_augment(parts, "cr"), x))
    elif parts.pre_d is None:
        raise UserError(
            "objective.terms.cr.target=bare compares an image behind DiffAugment with the image itself, but "
            "augment.diffaugment.policy is empty; name its policies, or set target: augmented"
        )
    else:
        pair = (x, Bare(x))
    return (Term("cr", "D", squared_difference(*pair), score=pair, weight=weight),)


def bcr(parts: Parts, *, real: Weight = 10.0, fake: Weight = 10.0) -> tuple[Term, ...]:
    """λ_real‖D(x) - D(T(x))‖² + λ_fake‖D(G(z)) - D(T(G(z)))‖² for the critic; G's loss is unchanged (ICR, Alg. 1)."""
    transform = _augment(parts, "bcr")
    x, g = parts.judged_real, parts.shown_fake
    reals, fakes = (x, Aug(transform, x)), (g, Aug(transform, g))
    return (
        Term("bcr_real", "D", squared_difference(*reals), score=reals, weight=real),
        Term("bcr_fake", "D", squared_difference(*fakes), score=fakes, weight=fake),
    )


def zcr(parts: Parts, *, dis: Weight = 5.0, gen: Weight = 0.5, sigma: float = 0.03) -> tuple[Term, ...]:
    """λ_dis‖D(G(z)) - D(G(z + Δz))‖² for the critic, -λ_gen‖G(z) - G(z + Δz)‖² for G, Δz ~ N(0, σ²) (ICR, Alg. 2).

    Both fakes of a pair have one label. The defaults are the values public code uses for unconditional 32 px models;
    the paper's own table is unverified.
    """
    g = parts.fake
    nudged = Gen(g.net, Nudge(g.source, sigma))

    def apart(b: Bundle) -> Tensor:
        return -F.mse_loss(b[nudged], b[g])

    return (
        Term("zcr_dis", "D", squared_difference(g, nudged), score=(g, nudged), weight=dis),
        Term("zcr_gen", "G", apart, views=(g, nudged), weight=gen),
    )


def squared_difference(a: View, b: View) -> Callable[[Bundle], Tensor]:
    """The loss mean (D(a) - D(b))² over the batch, of the critic of its term.

    A map of logits counts as its mean: an augmentation moves what a patch shows to another patch.
    """
    return lambda bundle: F.mse_loss(_whole(bundle.D(b).logit), _whole(bundle.D(a).logit))


def _whole(logit: Tensor) -> Tensor:
    """One logit (N,) for each image."""
    return logit if logit.dim() == 1 else logit.flatten(1).mean(1)


def _augment(parts: Parts, term: str) -> Transform:
    if parts.augment is None:
        raise UserError(
            f"objective.terms.{term} compares an image with its augmentation, but augment.consistency is off; "
            "set augment.consistency.flip, .shift or .cutout above zero"
        )
    return parts.augment
