"""FastGAN's terms: the game at two scales, reconstructions of what D saw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.fastgan import quarters_of
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.shape import Shape
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms
from steadygan.objective.self_supervised import Shrunk
from steadygan.objective.terms import Term
from steadygan.objective.views import Real, Small
from steadygan.pretrained.critic import FeatureCritic

pytestmark = pytest.mark.usefixtures("float64")

SHAPE: dict[str, Any] = {"size": 64, "channels": 3, "classes": 0, "width": 4}
REAL = Real()


def halve(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return x / 2


def prepared(player: str, **terms: Any) -> tuple[Bundle, dict[str, Term], Game]:
    nets = {"G": create_generator("fastgan", latent=5, **SHAPE).eval(), "D": create_critic("fastgan", **SHAPE).eval()}
    game = Game.of(nets=nets)
    mine = [term for term in build_terms(game, terms=terms) if term.player == player]
    given = {REAL: (torch.rand(3, 3, 64, 64), None)}
    b = Bundle(nets, Prior(5), torch.Generator().manual_seed(0), size=3, given=given, pre_d=halve, joint=False)
    b.prepare(mine)
    return b, {term.name: term for term in mine}, game


def test_the_game_is_half_on_images_and_half_on_the_smaller_ones_that_the_same_call_gives() -> None:
    b, terms, game = prepared("G", two_scales={})
    assert (terms["adversarial"].weight, terms["two_scales"].weight) == (0.5, 0.5)
    with torch.no_grad():
        image, small = b.nets["G"](b[game.fake.source], scales=True)
        judged = b.nets["D"](small / 2).logit
    torch.testing.assert_close(b[game.fake].detach(), image)
    torch.testing.assert_close(b[Small(game.fake)].detach(), small)
    torch.testing.assert_close(b.loss(terms["two_scales"]).detach(), -judged.mean())


def test_a_real_is_shrunk_behind_the_draw_that_the_critic_sees() -> None:
    b, _, _ = prepared("D", two_scales={})
    torch.testing.assert_close(b.seen(Shrunk(REAL, 32)), F.interpolate(b.seen(REAL), size=32))


@pytest.mark.parametrize(("distance", "measure"), [("l1", F.l1_loss), ("mse", F.mse_loss)])
def test_the_reconstructions_are_compared_with_what_the_critic_saw(distance: str, measure: Any) -> None:
    b, terms, _ = prepared("D", two_scales={}, reconstruction={"distance": distance})
    x = b.seen(REAL)
    values = []
    with torch.no_grad():
        for k in range(4):
            made = b.nets["D"].reconstruct(x, F.interpolate(x, size=32), torch.tensor([k]))
            targets = (x, quarters_of(x)[k], x)
            values.append(sum(measure(a, F.interpolate(t, size=64)) for a, t in zip(made, targets, strict=True)))
    actual = float(b.loss(terms["reconstruction"]).detach())
    assert min(abs(actual - float(value)) for value in values) < 1e-12


@pytest.mark.parametrize("term", ["two_scales", "reconstruction"])
def test_networks_without_a_second_scale_are_refused(term: str) -> None:
    nets = {"G": create_generator("dcgan", latent=5, **SHAPE), "D": create_critic("dcgan", **SHAPE)}
    with pytest.raises(UserError, match=rf"{term}.*model\.kind=fastgan"):
        build_terms(Game.of(nets=nets), terms={term: {}})


def test_a_second_scale_behind_pretrained_features_is_refused_for_these() -> None:
    critic = FeatureCritic(Shape(64, 3), create_critic("fastgan", **SHAPE), "tiny")
    with pytest.raises(UserError, match=r"two_scales.*model\.features=null"):
        build_terms(Game.of(nets={"D": critic}), terms={"two_scales": {}})
