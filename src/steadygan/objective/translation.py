"""Image-to-image translation: CSGAN, CycleGAN and pix2pix as terms over the views of two domains.

Each direction, such as a2b, is a separate game: G_ab translates a's images to b, D_b scores them. Each builder below
writes the terms of one direction, from a in `game.fake.source` to b in `game.real`; its terms are named `…_a2b`.
Distances between images are L1, averaged over pixels, channels and the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from steadygan.objective.batch import Batch, View
from steadygan.objective.declarations import needs
from steadygan.objective.game import TranslationGame
from steadygan.objective.terms import Term
from steadygan.objective.views import Detach, Gen
from steadygan.schedules import Weight


@needs("inverse")
def cycle(game: TranslationGame, *, weight: Weight = 10.0) -> tuple[Term, ...]:
    """λ‖a - G_ba(G_ab(a))‖₁ for both generators (CycleGAN, Zhu et al., ICCV 2017, eq. 2, one of its two halves).

    Args:
        weight: λ.
    """
    assert game.inverse is not None
    a, back = game.fake.source, Gen(game.inverse, game.fake)
    return (Term("cycle", "G", distance(back, a), views=(back, a), weight=weight),)


@needs("inverse", "pairs")
def synthesised(game: TranslationGame, *, weight: Weight = 30.0, detach: bool = True) -> tuple[Term, ...]:
    """μ‖G_ba(b) - G_ba(G_ab(a))‖₁: the translation of b against the cycled image of its partner a (CSGAN, arXiv
    1901.03554).

    With `detach` the cycled image is a constant, so that only G_ba(b) gets gradients, as in the authors' code; the
    paper leaves this open. μ = 30 is the code's.

    Args:
        weight: μ.
        detach: treat the cycled image as a constant.
    """
    assert game.inverse is not None
    made, cycled = Gen(game.inverse, game.real), Gen(game.inverse, game.fake)
    target: View = Detach(cycled) if detach else cycled
    return (Term("synthesised", "G", distance(made, target), views=(made, target), weight=weight),)


@needs("translation")
def identity(game: TranslationGame, *, weight: Weight = 5.0) -> tuple[Term, ...]:
    """‖G_ab(b) - b‖₁: images of the target domain should stay unchanged (CycleGAN, §5.2).

    The default is half of the cycle's weight, as for the paper's paintings; CSGAN's formula has no such term.

    Args:
        weight: weight of the term.
    """
    b = game.real
    kept = Gen(game.fake.net, b)
    return (Term("identity", "G", distance(kept, b), views=(kept, b), weight=weight),)


@needs("pairs")
def paired(game: TranslationGame, *, weight: Weight = 100.0) -> tuple[Term, ...]:
    """λ‖b - G_ab(a)‖₁ on paired images (pix2pix, Isola et al., CVPR 2017, eq. 3).

    Args:
        weight: λ.
    """
    return (Term("paired", "G", distance(game.fake, game.real), views=(game.fake, game.real), weight=weight),)


def distance(first: View, second: View) -> Callable[[Batch], Tensor]:
    """The loss mean |first - second| over all values of the batch."""

    def loss(b: Batch) -> Tensor:
        return F.l1_loss(b[first], b[second])

    return loss
