"""FastGAN's terms (Liu et al., ICLR 2021): the game on a smaller image, and reconstruction from D's features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.nets.fastgan import quarters_of
from steadygan.objective.batch import Batch, ScoredBatch, View
from steadygan.objective.declarations import needs, rewrites
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Small
from steadygan.schedules import Weight


@dataclass(frozen=True)
class Shrunk(View):
    """`source` resized to `side`² pixels by nearest neighbours, after the same draw of `pre_d`."""

    source: View
    side: int

    def compute(self, b: Batch) -> Tensor:
        return F.interpolate(b[self.source], size=self.side)

    def seen(self, b: Batch) -> Tensor:
        return F.interpolate(b.seen(self.source), size=self.side)


def _halve_the_game(game: Game, *, weight: float) -> Game:
    return replace(game, d_weight=(1 - weight) * game.d_weight, g_weight=(1 - weight) * game.g_weight)


@needs("second_scale")
@rewrites(_halve_the_game)
def two_scales(game: Game, *, weight: float = 0.5) -> tuple[Term, ...]:
    """Adds the game on the smaller image, for both players (FastGAN, §3.2): ½ game on images + ½ game on small ones.

    The authors' code averages all logits of both scales, 5×5 each, which is ½ and ½. Reals are resized; fakes are G's
    smaller images.

    Args:
        weight: weight of the game on small images; the game on full-size images keeps 1 - weight.
    """
    loss = game.loss
    x, g = Shrunk(game.critic_sees_real, _side(game)), Small(game.fake)

    def critic_loss(b: ScoredBatch) -> Tensor:
        return loss.critic(b.D(x).logit, b.D(g).logit)

    def generator_loss(b: ScoredBatch) -> Tensor:
        return loss.generator(b.D(g).logit, b.D(x).logit if loss.needs_reals else None)

    return (
        Term("two_scales", "D", critic_loss, score=(x, g), weight=weight),
        Term("two_scales", "G", generator_loss, score=(g, x) if loss.needs_reals else (g,), weight=weight),
    )


@needs("second_scale")
def reconstruction(game: Game, *, weight: Weight = 1.0, distance: Literal["l1", "mse"] = "l1") -> tuple[Term, ...]:
    """Reconstruction of reals from D's features, for D and its decoders (FastGAN, §3.2).

    The sum of three mean distances: of the whole image, a random quarter and the smaller image, each at 128² or the
    image's side, whichever is smaller (reals are resized by nearest neighbours). The paper uses LPIPS, whose weights
    are not part of this package; `l1` and `mse` are on pixels. The target is D's input, after `pre_d`; one quarter is
    drawn for the whole batch, as in the authors' code.

    Args:
        weight: weight of the term.
        distance: mean absolute (l1) or squared (mse) difference of pixels.
    """
    x = game.critic_sees_real
    small, measure = Shrunk(x, _side(game)), {"l1": F.l1_loss, "mse": F.mse_loss}[distance]

    def loss(b: ScoredBatch) -> Tensor:
        image = b.seen(x)
        quarter = torch.randint(0, 4, (1,), generator=b.generator, device=b.generator.device)
        made = b.nets["D"].reconstruct(image, b.seen(small), quarter)  # type: ignore[operator]
        part = torch.stack(quarters_of(image)).index_select(0, quarter)[0]
        targets = (image, part, image)
        pairs = zip(made, targets, strict=True)
        return torch.stack([measure(a, F.interpolate(t, size=a.shape[2:])) for a, t in pairs]).sum()

    return (Term("reconstruction", "D", loss, views=(x,), weight=weight),)


def _side(game: Game) -> int:
    """The side of the smaller image."""
    return 1 if game.nets is None else int(game.nets[game.critic].small)  # type: ignore[arg-type]
