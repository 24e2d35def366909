"""Consistency regularisation: CR, bCR, zCR. ICR is bCR and zCR together.

CR-GAN: Zhang et al., ICLR 2020. bCR, zCR, ICR: Zhao et al., "Improved Consistency Regularization for GANs",
AAAI 2021. Distances between logits are squared differences of the scalar before any activation, averaged over the
batch; distances between images are averaged over pixels and the batch (the paper writes a norm, but its weights fit the
mean, which all public code uses). Neither side of a pair is detached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from steadygan.objective.batch import ScoredBatch, View
from steadygan.objective.declarations import excludes, needs
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Aug, Bare, Gen, Nudge
from steadygan.schedules import Weight


@needs(target={"augmented": "augmentation", "bare": "diffaugment"})
def cr(game: Game, *, weight: Weight = 10.0, target: Literal["augmented", "bare"] = "augmented") -> tuple[Term, ...]:
    """λ‖D(x) - D(T(x))‖² for D, on reals only (CR-GAN, §2).

    Under DiffAugment, A, it is λ‖D(A(x)) - D(T(A(x)))‖², with the same draw of A. With `target` "bare" it is λ‖D(A(x))
    - D(x)‖² instead: the score must be invariant to A itself, and `augment.consistency` is not used. The official code
    of DiffAugment (Zhao et al., NeurIPS 2020) trains CR-BigGAN on 20 % and 10 % of CIFAR this way.

    Args:
        weight: λ.
        target: augmented: compare T(x) with x; bare: compare DiffAugment's output with x.
    """
    x = game.critic_sees_real
    if target == "bare":
        pair: tuple[View, View] = (x, Bare(x))
    else:
        assert game.augment is not None
        pair = (x, Aug(game.augment, x))
    return (Term("cr", "D", squared_difference(*pair), score=pair, weight=weight),)


@needs("augmentation")
@excludes(cr="bcr contains cr (on reals); keep bcr and set bcr.real to its weight")
def bcr(game: Game, *, real: Weight = 10.0, fake: Weight = 10.0) -> tuple[Term, ...]:
    """λ_real‖D(x) - D(T(x))‖² + λ_fake‖D(G(z)) - D(T(G(z)))‖² for D; G's loss is unchanged (ICR, Alg. 1).

    Args:
        real: λ_real, the weight on reals.
        fake: λ_fake, the weight on fakes.
    """
    assert game.augment is not None
    x, g = game.critic_sees_real, game.critic_sees_fake
    reals, fakes = (x, Aug(game.augment, x)), (g, Aug(game.augment, g))
    return (
        Term("bcr_real", "D", squared_difference(*reals), score=reals, weight=real),
        Term("bcr_fake", "D", squared_difference(*fakes), score=fakes, weight=fake),
    )


@needs("latent")
def zcr(game: Game, *, dis: Weight = 5.0, gen: Weight = 0.5, sigma: float = 0.03) -> tuple[Term, ...]:
    """λ_dis‖D(G(z)) - D(G(z + Δz))‖² for D, -λ_gen‖G(z) - G(z + Δz)‖² for G, Δz ~ N(0, σ²) (ICR, Alg. 2).

    Both fakes of a pair share one label. The defaults are those of public code for unconditional 32 px models;
    the paper's own table is unverified. The λ_gen of images in [0, 1], such as compare_gan's, is λ_gen/4 here.

    Args:
        dis: λ_dis, the weight of D's term: scores must not change when the latent moves a little.
        gen: λ_gen, the weight of G's term: images must change.
        sigma: σ, standard deviation of the latent's perturbation.
    """
    g = game.fake
    nudged = Gen(g.net, Nudge(g.source, sigma))

    def apart(b: ScoredBatch) -> Tensor:
        return -F.mse_loss(b[nudged], b[g])

    return (
        Term("zcr_dis", "D", squared_difference(g, nudged), score=(g, nudged), weight=dis),
        Term("zcr_gen", "G", apart, views=(g, nudged), weight=gen),
    )


def squared_difference(a: View, b: View) -> Callable[[ScoredBatch], Tensor]:
    """The loss mean (D(a) - D(b))² over the batch, with D of the term.

    Maps of logits are averaged first, as an augmentation moves image content to other patches.
    """
    return lambda bundle: F.mse_loss(_whole(bundle.D(b).logit), _whole(bundle.D(a).logit))


def _whole(logit: Tensor) -> Tensor:
    """One logit (N,) for each image."""
    return logit if logit.dim() == 1 else logit.flatten(1).mean(1)
