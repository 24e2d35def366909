"""FastGAN's terms (Liu et al., ICLR 2021): the game on a smaller image, and D as an encoder that keeps the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.nets.fastgan import quarters_of
from steadygan.objective.adversarial import loss_by_name
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts, Term, rewrites
from steadygan.objective.views import Small, View
from steadygan.schedules import Weight


@dataclass(frozen=True)
class Shrunk(View):
    """`source` at `side`² pixels by nearest neighbours; a critic sees it behind the same draw of `pre_d`."""

    source: View
    side: int

    def compute(self, b: Bundle) -> Tensor:
        return F.interpolate(b[self.source], size=self.side)

    def seen(self, b: Bundle) -> Tensor:
        return F.interpolate(b.seen(self.source), size=self.side)


def _halve_the_game(parts: Parts, *, weight: float) -> Parts:
    return replace(parts, game=1 - weight)


@rewrites(_halve_the_game)
def two_scales(parts: Parts, *, weight: float = 0.5) -> tuple[Term, ...]:
    """The game on the smaller image as well, for both players (FastGAN, §3.2): ½ game on images + ½ game on small ones.

    The code takes the mean over all logits of both scales, 5×5 of each, which is ½ and ½. A real is shrunk; a fake is
    the smaller image that G gives. Raises UserError for networks without a second scale.
    """
    side = _second_scale(parts, "two_scales")
    game = loss_by_name(parts.loss)
    x, g = Shrunk(parts.judged_real, side), Small(parts.fake)

    def critic_loss(b: Bundle) -> Tensor:
        return game.critic(b.D(x).logit, b.D(g).logit)

    def generator_loss(b: Bundle) -> Tensor:
        return game.generator(b.D(g).logit, b.D(x).logit if game.needs_reals else None)

    return (
        Term("two_scales", "D", critic_loss, score=(x, g), weight=weight),
        Term("two_scales", "G", generator_loss, score=(g, x) if game.needs_reals else (g,), weight=weight),
    )


def reconstruction(parts: Parts, *, weight: Weight = 1.0, distance: Literal["l1", "mse"] = "l1") -> tuple[Term, ...]:
    """Reals made again out of D's features, for D and its decoders (FastGAN, §3.2).

    The sum of three mean distances, of the whole image, a random quarter and the smaller image, each between images of
    128² (a real is brought to that size by nearest neighbours). The paper
    measures them with LPIPS, whose weights are not part of this package; `l1` and `mse` are on pixels. The image is the
    one D sees, behind `pre_d`; one quarter is drawn for the whole batch, as in the authors' code.
    """
    side = _second_scale(parts, "reconstruction")
    x = parts.judged_real
    small, measure = Shrunk(x, side), {"l1": F.l1_loss, "mse": F.mse_loss}[distance]

    def loss(b: Bundle) -> Tensor:
        image = b.seen(x)
        quarter = torch.randint(0, 4, (1,), generator=b.generator, device=b.generator.device)
        made = b.nets["D"].reconstruct(image, b.seen(small), quarter)  # type: ignore[operator]
        part = torch.stack(quarters_of(image)).index_select(0, quarter)[0]
        targets = (image, part, image)
        pairs = zip(made, targets, strict=True)
        return torch.stack([measure(a, F.interpolate(t, size=a.shape[2:])) for a, t in pairs]).sum()

    return (Term("reconstruction", "D", loss, views=(x,), weight=weight),)


def _second_scale(parts: Parts, term: str) -> int:
    """The side of the smaller image."""
    if parts.nets is None:
        return 1
    side = getattr(parts.nets["D"], "small", None)
    if side is None:
        raise UserError(
            f"objective.terms.{term} needs networks with a smaller image, and these have none; set model.kind=fastgan"
        )
    return int(side)
