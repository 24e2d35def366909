"""Path length regularisation (Karras et al., StyleGAN2, CVPR 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.protocols import Mixing
from steadygan.objective.batch import ScoredBatch, View
from steadygan.objective.declarations import needs
from steadygan.objective.game import Game
from steadygan.objective.memory import Average
from steadygan.objective.terms import Term
from steadygan.objective.views import Latent
from steadygan.parallel.share import rows
from steadygan.schedules import Weight


@needs("latent", "mapping")
def path_length(
    game: Game, *, weight: Weight = 2.0, decay: float = 0.99, shrink: int = 2, every: int = 4
) -> tuple[Term, ...]:
    """E(‖J_wᵀ v‖₂ - a)² for G (Karras et al., StyleGAN2, CVPR 2020, §3.2).

    w (N, L, w_dim) is the mapped latent, v an image of N(0, 1) / √(H·W), ‖·‖ the root of the squares summed over w_dim
    and averaged over the L layers, a the running average of the lengths, from 0, this batch included. As in the
    authors' code the gradient also flows through a, w mixes two latents if G mixes styles in training, and the defaults
    are weight 2, decay 0.99, on 1/`shrink` of a separate batch of latents (at least one), every 4th phase. The
    generator must have `map` and `synthesise`, and `styles` if it mixes.

    Args:
        weight: weight of the term.
        decay: decay of the running average a.
        shrink: the term uses 1/shrink of a batch.
        every: apply the term in every n-th update of G, n times as strong (lazy regularisation).

    Raises:
        UserError: shrink is below 1.
    """
    net = game.fake.net
    if shrink < 1:
        raise UserError(f"objective.terms.path_length: shrink must be at least 1, got {shrink}")
    z = Latent(draw=1)
    loss = PathLength(net, z, decay, shrink)
    return (Term("path_length", "G", loss, views=(z,), weight=weight, every=every),)


class PathLength(nn.Module):
    """The loss of `path_length`, with its average.

    Args:
        net: name of the generator.
        z: its latents.
        decay: of the average, in [0, 1).
        shrink: use 1/shrink of the batch.
    """

    def __init__(self, net: str, z: View, decay: float, shrink: int) -> None:
        super().__init__()
        self.net, self.z, self.shrink = net, z, shrink
        self.average = Average(decay, initial=0.0)

    def forward(self, b: ScoredBatch) -> Tensor:
        z, y, G = b[self.z], b.labels(self.z), b.nets[self.net]
        count = max(1, len(z) // self.shrink)
        some = slice(0, count * self.shrink, self.shrink)  # the same latents for any number of processes
        styles = G.styles if isinstance(G, Mixing) else G.map
        w = styles(z[some], None if y is None else y[some])  # type: ignore[operator]
        images = G.synthesise(w)  # type: ignore[operator]
        noise = rows(torch.randn, images.shape, b.generator, dtype=images.dtype)
        noise = noise / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * noise).sum(), w, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        return (lengths - self.average(lengths.mean(), through=True)).square().mean()
