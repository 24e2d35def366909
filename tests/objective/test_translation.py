"""Translation's terms against values computed by hand, and the networks that each trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game, TranslationGame
from steadygan.objective.registry import TERMS, build_terms
from steadygan.objective.terms import Term
from steadygan.objective.views import Beside, Detach, Gen, Pool, Real
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

pytestmark = pytest.mark.usefixtures("float64")

N, C, SIDE = 3, 2, 4
A, B = Real("a"), Real("b")


class Scale(nn.Module):
    """A generator that multiplies by one number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.factor * x


class Patches(nn.Module):
    """A discriminator whose logit of a patch is a multiple of the mean of its 2×2 pixels."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(self.factor * F.avg_pool2d(x, 2).mean(1, keepdim=True))


def directions(**options: Any) -> tuple[TranslationGame, TranslationGame]:
    shared: dict[str, Any] = {"history": 0, "loss": LOSSES["least-squares"], **options}
    return (
        TranslationGame(B, Gen("G_ab", A), critic="D_b", suffix="_a2b", inverse="G_ba", **shared),
        TranslationGame(A, Gen("G_ba", B), critic="D_a", suffix="_b2a", inverse="G_ab", **shared),
    )


def make_bundle(**options: Any) -> tuple[Bundle, dict[str, nn.Module], Tensor, Tensor]:
    nets: dict[str, nn.Module] = {"G_ab": Scale(0.5), "G_ba": Scale(3.0), "D_a": Patches(0.7), "D_b": Patches(-0.4)}
    a, b = torch.randn(2, N, C, SIDE, SIDE)
    bundle = Bundle(
        nets, Prior(0), torch.Generator().manual_seed(1), size=N, given={A: (a, None), B: (b, None)}, **options
    )
    return bundle, nets, a, b


def value(term: Term) -> float:
    bundle, *_ = make_bundle()
    bundle.prepare([term])
    return float(bundle.loss(term).detach())


def expected(formula: Any) -> float:
    _, _, a, b = make_bundle()
    return float(formula(a, b))


def seeded(function: Any, *arguments: Any) -> float:
    torch.manual_seed(3)
    return function(*arguments)


FORMULAS = {
    "cycle": lambda a, b: (3 * 0.5 * a - a).abs().mean(),
    "synthesised": lambda a, b: (3 * b - 3 * 0.5 * a).abs().mean(),
    "identity": lambda a, b: (0.5 * b - b).abs().mean(),
    "paired": lambda a, b: (0.5 * a - b).abs().mean(),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_each_loss_is_its_formula_for_the_direction_it_is_written_for(name: str) -> None:
    (term,) = TERMS[name](directions()[0])
    assert seeded(value, term) == pytest.approx(seeded(expected, FORMULAS[name]))


def test_the_other_direction_is_the_same_formula_with_domains_exchanged() -> None:
    (term,) = TERMS["synthesised"](directions()[1])
    assert seeded(value, term) == pytest.approx(seeded(expected, lambda a, b: (0.5 * a - 0.5 * 3 * b).abs().mean()))


@pytest.mark.parametrize(("loss", "fake_side"), [("least-squares", 2.0), ("hinge", 1.0), ("non-saturating", 1.0)])
def test_the_adversarial_pair_has_the_public_codes_weights(loss: str, fake_side: float) -> None:
    """MSE(D(b), 1)/2 + MSE(D(fake), 0)/2 for D and MSE(D(fake), 1) for G, on maps of patches."""
    d_weight, g_weight = TranslationGame.weights(LOSSES[loss])
    game = replace(directions(loss=LOSSES[loss])[0], d_weight=d_weight, g_weight=g_weight)
    critic, generator = build_terms(game, terms={})
    assert (critic.name, critic.critic, generator.name) == ("adversarial_a2b", "D_b", "adversarial_a2b")
    assert generator.weight == fake_side == 2 * critic.weight
    if loss == "least-squares":
        maps = lambda x: -0.4 * F.avg_pool2d(x, 2).mean(1, keepdim=True)  # noqa: E731
        by_hand = lambda a, b: F.mse_loss(maps(b), torch.ones(N, 1, 2, 2)) / 2 + maps(0.5 * a).square().mean() / 2  # noqa: E731
        assert critic.weight * seeded(value, critic) == pytest.approx(seeded(expected, by_hand))
        for_g = lambda a, b: (maps(0.5 * a) - 1).square().mean()  # noqa: E731
        assert generator.weight * seeded(value, generator) == pytest.approx(seeded(expected, for_g))


def reached(term: Term) -> set[str]:
    """Networks that the gradient of a G term reaches."""
    bundle, nets, *_ = make_bundle()
    bundle.prepare([term])
    bundle.loss(term).backward()
    return {name for name, net in nets.items() for p in net.parameters() if p.grad is not None and p.grad.any()}


def test_a_detached_cycle_teaches_only_the_generator_of_the_synthesised_image() -> None:
    forward, backward = directions()
    assert reached(TERMS["synthesised"](forward)[0]) == {"G_ba"}
    assert reached(TERMS["synthesised"](backward)[0]) == {"G_ab"}


def test_without_detach_the_cycle_learns_too() -> None:
    for direction in directions():
        assert reached(TERMS["synthesised"](direction, detach=False)[0]) == {"G_ab", "G_ba"}


def test_detach_leaves_the_value_alone_and_changes_the_gradient() -> None:
    on, off = (TERMS["synthesised"](directions()[0], detach=detach)[0] for detach in (True, False))
    assert seeded(value, on) == seeded(value, off)

    def slope(term: Term) -> float:
        bundle, nets, *_ = make_bundle()
        bundle.prepare([term])
        bundle.loss(term).backward()
        (parameter,) = nets["G_ba"].parameters()
        return float(parameter.grad)

    # |3b - 3·0.5a|: with the cycle constant d/df sum|f·b - c| = mean(sign·b), without it mean(sign·(b - 0.5a)).
    sign = lambda a, b: (3 * b - 1.5 * a).sign()  # noqa: E731
    assert seeded(slope, on) == pytest.approx(seeded(expected, lambda a, b: (sign(a, b) * b).mean()))
    assert seeded(slope, off) == pytest.approx(seeded(expected, lambda a, b: (sign(a, b) * (b - 0.5 * a)).mean()))


@pytest.mark.parametrize(("name", "nets"), [("cycle", {"G_ab", "G_ba"}), ("identity", {"G_ab"}), ("paired", {"G_ab"})])
def test_other_losses_teach_the_generators_in_their_formula(name: str, nets: set[str]) -> None:
    assert reached(TERMS[name](directions()[0])[0]) == nets


def test_a_conditional_critic_sees_the_input_beside_real_and_fake() -> None:
    game = replace(directions()[0], critic_sees_input=True)
    assert game.critic_sees_real == Beside(A, B)
    assert game.generator_is_judged_on == Beside(A, Gen("G_ab", A))
    bundle, _, a, b = make_bundle()
    assert torch.equal(bundle[Beside(A, B)], torch.cat([a, b], 1))


def test_the_critics_phase_is_shown_the_history_and_the_generators_phase_is_not() -> None:
    game = replace(directions()[0], history=7)
    critic, generator = build_terms(game, terms={})
    assert Pool(game.fake, 7) in critic.score
    assert generator.score == (game.fake,)


def test_views_of_all_terms_cost_one_call_a_generator_and_level() -> None:
    bundle, nets, *_ = make_bundle()
    calls: list[str] = []
    for name, net in nets.items():
        net.register_forward_hook(lambda *_, name=name: calls.append(name))
    terms = build_terms(*directions(), terms={"cycle": {}, "synthesised": {}, "identity": {}})
    bundle.prepare([term for term in terms if term.player == "G"])
    assert sorted(calls) == ["D_a", "D_b", "G_ab", "G_ab", "G_ba", "G_ba"]


def test_a_detached_view_is_the_same_tensor_without_a_graph() -> None:
    bundle, *_ = make_bundle()
    fake = Gen("G_ab", A)
    assert torch.equal(bundle[Detach(fake)], bundle[fake])
    assert bundle[fake].requires_grad
    assert not bundle[Detach(fake)].requires_grad
    assert not bundle.seen(Detach(fake)).requires_grad


def test_consistency_compares_whole_images_where_the_critic_judges_patches() -> None:
    """A flip moves every patch, so that patch by patch the two maps would differ."""
    game = replace(directions()[0], augment=Consistency(flip=1.0, shift=0.0))
    (term,) = TERMS["cr"](game)
    assert seeded(value, replace(term, critic="D_b")) == pytest.approx(0, abs=1e-30)


def test_every_regulariser_of_a_critic_is_added_for_each_direction() -> None:
    games = [replace(game, augment=Consistency()) for game in directions()]
    terms = build_terms(*games, terms={"bcr": {}, "r1": {}, "lecam": {"start": 0}, "gp": {}, "dragan": {}})
    names = {term.name for term in terms}
    assert {"bcr_real_a2b", "bcr_fake_b2a", "r1_a2b", "lecam_b2a", "gp_a2b", "dragan_b2a"} <= names
    assert {term.critic for term in terms if term.name.endswith("_a2b")} == {"D_b"}
    bundle, *_ = make_bundle()
    mine = [term for term in terms if term.player == "D"]
    bundle.prepare(mine)
    assert all(bundle.loss(term).isfinite() for term in mine)


@pytest.mark.parametrize("name", ["zcr", "logan", "path_length", "unet", "cutmix", "jsreg"])
def test_a_term_that_has_no_place_in_a_translation_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=rf"objective\.terms\.{name}"):
        build_terms(directions()[0], terms={name: {}})


@pytest.mark.parametrize("name", ["cycle", "synthesised", "identity", "paired"])
def test_a_term_of_translations_is_refused_elsewhere(name: str) -> None:
    with pytest.raises(UserError, match=r"data\.domains"):
        build_terms(Game.of(loss="hinge"), terms={name: {}})


@pytest.mark.parametrize("name", ["synthesised", "paired"])
def test_a_term_that_compares_pairs_is_refused_for_unpaired_images(name: str) -> None:
    with pytest.raises(UserError, match=r"data\.domains=paired"):
        build_terms(replace(directions()[0], aligned=False), terms={name: {}})


def test_a_cycle_needs_the_way_back() -> None:
    with pytest.raises(UserError, match=r"model\.directions"):
        build_terms(replace(directions()[0], inverse=None), terms={"cycle": {}})


@pytest.mark.parametrize("policy", ["color", "translation", "cutout"])
def test_diffaugment_treats_both_images_of_a_pair_alike(policy: str) -> None:
    """Transforming (x, x) stacked gives one transformed image twice, which is that of x alone on the same draw."""
    x = torch.randn(4, 3, 16, 16)
    rng = torch.Generator().manual_seed(5)
    one, two = DiffAugment((policy,), 2)(torch.cat([x, x], 1), rng).chunk(2, 1)
    after_pair = torch.rand(1, generator=rng)
    assert torch.equal(one, two)
    assert not torch.equal(one, x)
    rng = torch.Generator().manual_seed(5)
    assert torch.equal(DiffAugment((policy,))(x, rng), one)
    assert torch.equal(torch.rand(1, generator=rng), after_pair)
