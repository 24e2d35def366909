"""LeCam regularisation: D's predictions on reals are anchored at their average on fakes, and vice versa."""

from __future__ import annotations

from torch import Tensor, nn

from steadygan.objective.batch import ScoredBatch, View
from steadygan.objective.game import Game
from steadygan.objective.memory import Average
from steadygan.objective.terms import Term
from steadygan.schedules import Weight


def lecam(
    game: Game, *, weight: Weight = 0.3, decay: float = 0.9, start: int = 1000, one_sided: bool = True
) -> tuple[Term, ...]:
    """λ·(E(D(x) - α_F)² + E(D(g) - α_R)²) for D (Tseng et al., CVPR 2021).

    α_R and α_F are running averages of D's mean logit on reals and fakes, this batch included. Defaults are those of
    the authors' CIFAR BigGAN code (google/lecam-gan): λ 0.3 in all its scripts, decay 0.9, in force after step 1000.
    Their StyleGAN2 has λ 3e-7 and decay 0.99. Both use only the positive part of each distance, (D(x) - α_F)₊ and (α_R
    - D(g))₊; `one_sided: false` is the formula of the paper. Averages are updated from the first phase on (the authors'
    from `start`), once per micro-batch.

    Args:
        weight: λ.
        decay: decay of the running averages α_R and α_F.
        start: training step after which the term counts.
        one_sided: penalise only distances above zero, as the authors' code does; false: the paper's formula.
    """
    x, g = game.critic_sees_real, game.critic_sees_fake

    def started(step: int) -> float:
        return float(step > start)

    loss = LeCam(x, g, decay, one_sided)
    return (Term("lecam", "D", loss, score=(x, g), weight=weight, schedule=started if start > 0 else None),)


class LeCam(nn.Module):
    """The loss of `lecam`, with its two averages.

    Args:
        x: the reals as D's input.
        g: the fakes as D's input.
        decay: of the averages, in [0, 1).
        one_sided: penalise only the positive part of each distance.
    """

    def __init__(self, x: View, g: View, decay: float, one_sided: bool) -> None:
        super().__init__()
        self.x, self.g, self.one_sided = x, g, one_sided
        self.real, self.fake = Average(decay), Average(decay)

    def forward(self, b: ScoredBatch) -> Tensor:
        real, fake = b.D(self.x).logit, b.D(self.g).logit
        above, below = real - self.fake(fake.mean()), self.real(real.mean()) - fake
        if self.one_sided:
            above, below = above.relu(), below.relu()
        return above.square().mean() + below.square().mean()
