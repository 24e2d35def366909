"""Path length regularisation against its formula for a linear generator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.registry import create_generator
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS
from steadygan.objective.terms import Term
from steadygan.objective.views import Latent

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT = 6, 4


def bundle(net: nn.Module, classes: int = 0) -> Bundle:
    prior = Prior(LATENT, "uniform", torch.arange(classes) if classes else None)
    return Bundle({"G": net}, prior, torch.Generator().manual_seed(2), size=N)


class Mapped(nn.Module):
    """w = (M z, M z), image = A_1 w_1 + A_2 w_2."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.randn(3, LATENT))
        self.a = nn.Parameter(torch.randn(2, 8, 3))

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z @ self.m.T)[:, None].expand(-1, 2, -1)

    def synthesise(self, w: Tensor) -> Tensor:
        return torch.einsum("lpw,nlw->np", self.a, w).view(-1, 2, 2, 2)


def path_length(**options: Any) -> tuple[Term, Bundle]:
    (term,) = TERMS["path_length"](Game.of(), **options)
    b = bundle(Mapped())
    b.prepare([term])
    assert b[Latent(1)].shape == (N, LATENT)
    return term, b


def test_path_length_of_a_linear_generator() -> None:
    term, b = path_length(shrink=3)
    rng = torch.Generator()
    rng.set_state(b.generator.get_state())
    noise = torch.randn(2, 2, 2, 2, generator=rng).flatten(1) / math.sqrt(4)
    per_layer = torch.einsum("lpw,np->nlw", b.nets["G"].a, noise)
    lengths = per_layer.square().sum(2).mean(1).sqrt()
    # The official code's `pl_mean.lerp(pl_lengths.mean(), 0.01)`, of which only what is kept for later is detached.
    expected = (lengths - 0.01 * lengths.mean()).square().mean()
    loss = term.loss(b)
    torch.testing.assert_close(loss, expected)
    a = b.nets["G"].a
    torch.testing.assert_close(torch.autograd.grad(loss, a), torch.autograd.grad(expected, a))


def test_path_lengths_are_drawn_to_their_running_average() -> None:
    term, b = path_length(decay=0.5)
    term.loss(b)
    first = float(term.loss.average.mean)
    term.loss(b)
    assert first > 0
    assert float(term.loss.average.mean) > first
    assert (term.player, term.weight, term.every) == ("G", 2.0, 4)


def test_a_batch_smaller_than_its_shrinkage_keeps_one_latent() -> None:
    term, b = path_length(shrink=100)
    assert term.loss(b).isfinite()
    with pytest.raises(UserError, match=r"path_length: shrink must be at least 1, got 0"):
        TERMS["path_length"](Game.of(), shrink=0)


@pytest.mark.parametrize("classes", [0, 3])
def test_path_length_trains_the_generator_of_stylegan2(classes: int) -> None:
    net = create_generator("stylegan2", size=16, channels=1, classes=classes, latent=LATENT, width=1, mapping_layers=1)
    (term,) = TERMS["path_length"](Game.of(nets={"G": net}))
    b = bundle(net, classes)
    b.prepare([term])
    term.loss(b).backward()
    assert float(net.mapping.layers[0].weight.grad.abs().max()) > 0


def test_styles_are_mixed_where_the_generator_mixes_them() -> None:
    """As in the official code, whose path length runs G as its game does."""
    net = create_generator(
        "stylegan2", size=16, channels=1, classes=0, latent=LATENT, width=1, style_mixing=1.0
    ).train()
    taken: list[Tensor] = []
    synthesise = net.synthesise
    net.synthesise = lambda w: taken.append(w) or synthesise(w)
    (term,) = TERMS["path_length"](Game.of(nets={"G": net}))
    b = bundle(net)
    b.prepare([term])
    term.loss(b)
    (w,) = taken
    own = net.map(b[Latent(1)][::2])
    torch.testing.assert_close(w[:, 0], own[:, 0])  # a product of other rows may round differently
    assert not torch.isclose(w[:, -1], own[:, -1]).any()
    assert float(net.w_avg.abs().max()) > 0
    net.style_mixing = 0.0
    term.loss(b)
    torch.testing.assert_close(taken[-1], own)
