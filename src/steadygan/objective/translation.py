"""Image-to-image translation: CSGAN, CycleGAN and pix2pix as terms over the views of two domains.

A direction, such as a2b, is a game of its own: G_ab makes b's images out of a's, D_b judges them. Each builder below
writes the terms of one direction, from a in `parts.fake.source` to b in `parts.real`; the names of its terms end in
`_a2b`. Distances between images are L1, averaged over pixels, channels and the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term
from steadygan.objective.views import Beside, Detach, Gen, Pool, View
from steadygan.schedules import Weight


@dataclass(frozen=True)
class Direction(Parts):
    """What the terms of one direction of a translation are written from.

    back: the generator of the other direction, if there is one; history: of how many earlier fakes D's phase is shown
    some (0: none, only this batch's); beside: whether the critic judges an image beside its input (pix2pix), or by
    itself; aligned: whether the two domains' images of a batch belong together, one by one.
    """

    back: str | None = None
    history: int = 50
    beside: bool = False
    aligned: bool = True

    LATENT: ClassVar = ("zcr", "logan", "path_length")
    LOGIT: ClassVar = ("jsreg", "unet", "cutmix")

    def refuse(self, terms: Collection[str]) -> None:
        for names, reason in (
            (self.LATENT, "works on a latent, and a translation has none"),
            (self.LOGIT, "needs one logit for each image or pixel, and a translation's critic has one for each patch"),
        ):
            for name in terms:
                if name in names:
                    raise UserError(f"objective.terms.{name} {reason}; take it out (objective.terms.{name}=null)")

    @property
    def judged_real(self) -> View:
        return Beside(self.fake.source, self.real) if self.beside else self.real

    @property
    def judged_fake(self) -> View:
        return Beside(self.fake.source, self.fake) if self.beside else self.fake

    @property
    def shown_fake(self) -> View:
        return Pool(self.judged_fake, self.history) if self.history else self.judged_fake

    @property
    def generator_game(self) -> float:
        """Twice D's: the public code of CycleGAN, pix2pix and CSGAN halves D's loss and not G's."""
        return 2 * self.game

    @classmethod
    def share(cls, loss: str) -> float:
        """`game` for a loss, so that D's is half of the public code's and G's the whole of it.

        The ½ of `least-squares` is part of its formula here (Mao et al., ICCV 2017, eq. 9).
        """
        return 1.0 if loss == "least-squares" else 0.5


def cycle(parts: Parts, *, weight: Weight = 10.0) -> tuple[Term, ...]:
    """λ‖a - G_ba(G_ab(a))‖₁ for both generators (CycleGAN, Zhu et al., ICCV 2017, eq. 2, one of its two halves)."""
    a, back = parts.fake.source, Gen(_back(parts, "cycle"), parts.fake)
    return (Term("cycle", "G", distance(back, a), views=(back, a), weight=weight),)


def synthesised(parts: Parts, *, weight: Weight = 30.0, detach: bool = True) -> tuple[Term, ...]:
    """μ‖G_ba(b) - G_ba(G_ab(a))‖₁: the image made of b against the cycled one of a, its pair (CSGAN, arXiv 1901.03554).

    With `detach` the cycled image is a constant, so that G_ba learns from G_ba(b) alone and G_ab nothing from this
    half, as in the authors' code; the paper's formula does not say. μ = 30 is the code's.
    """
    _refuse_unaligned(parts, "synthesised")
    made, cycled = Gen(_back(parts, "synthesised"), parts.real), Gen(_back(parts, "synthesised"), parts.fake)
    target: View = Detach(cycled) if detach else cycled
    return (Term("synthesised", "G", distance(made, target), views=(made, target), weight=weight),)


def identity(parts: Parts, *, weight: Weight = 5.0) -> tuple[Term, ...]:
    """‖G_ab(b) - b‖₁: what is of the target's domain already stays as it is (CycleGAN, §5.2).

    The default is half of the cycle's weight, as for the paper's paintings; CSGAN's formula has no such term.
    """
    _refuse_elsewhere(parts, "identity")
    b = parts.real
    kept = Gen(parts.fake.net, b)
    return (Term("identity", "G", distance(kept, b), views=(kept, b), weight=weight),)


def paired(parts: Parts, *, weight: Weight = 100.0) -> tuple[Term, ...]:
    """λ‖b - G_ab(a)‖₁ for images that belong together (pix2pix, Isola et al., CVPR 2017, eq. 3)."""
    _refuse_unaligned(parts, "paired")
    return (Term("paired", "G", distance(parts.fake, parts.real), views=(parts.fake, parts.real), weight=weight),)


def distance(a: View, b: View) -> Callable[[Bundle], Tensor]:
    """The loss mean |a - b| over all values of the batch."""

    def loss(bundle: Bundle) -> Tensor:
        return F.l1_loss(bundle[a], bundle[b])

    return loss


def _refuse_elsewhere(parts: Parts, term: str) -> Direction:
    if not isinstance(parts, Direction):
        raise UserError(f"objective.terms.{term} is of translations between two domains; set data.domains")
    return parts


def _back(parts: Parts, term: str) -> str:
    back = _refuse_elsewhere(parts, term).back
    if back is None:
        raise UserError(f"objective.terms.{term} needs the way back; set model.directions=[a2b, b2a]")
    return back


def _refuse_unaligned(parts: Parts, term: str) -> None:
    if not _refuse_elsewhere(parts, term).aligned:
        raise UserError(f"objective.terms.{term} compares images that belong together; set data.domains=paired")
