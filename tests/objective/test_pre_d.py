"""DiffAugment's placement: the images transformed in each player's phase, from the configuration to the critic."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan import build, config
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.nets.spectral_norm import advance_spectral_norm
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import PLACEMENTS, build_terms
from steadygan.objective.views import (
    Aug,
    Bare,
    CutMix,
    Gen,
    Jitter,
    Latent,
    Lerp,
    Mask,
    Nudge,
    Real,
    Through,
    View,
)
from steadygan.tasks.choice import task_of
from steadygan.training.step import run_phase, train_step
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

X, Z = Real(), Latent()
G = Gen("G", Z)


@dataclass(frozen=True)
class Paler:
    """T(x) = x/2: whether an image was transformed can be read from it."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x / 2


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (X, "real"),
        (Aug(Paler(), X), "real"),
        (Bare(X), "real"),
        (Through(X), "real"),
        (Jitter(X), "real"),
        (G, "fake"),
        (Gen("G", Nudge(Z, 0.1)), "fake"),
        (Aug(Paler(), G), "fake"),
        (Lerp(X, G), "fake"),
        (CutMix(X, G, Mask(X)), "fake"),
    ],
)
def test_an_image_is_fake_when_a_network_had_a_part_in_it(view: View, expected: str) -> None:
    assert view.origin() == expected


@pytest.mark.parametrize(
    ("placement", "player", "augmented"),
    [
        ("both", "D", {"real", "fake"}),
        ("both", "G", {"real", "fake"}),
        ("reals-only", "D", {"real"}),
        ("reals-only", "G", set()),
        ("discriminator-only", "D", {"real", "fake"}),
        ("discriminator-only", "G", set()),
    ],
)
def test_what_the_critic_is_shown(
    placement: str, player: str, augmented: set[str], combinations: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = combinations.tiny_state({"bcr": {}}, pre_d=Paler(), pre_d_on=PLACEMENTS[placement])
    bundles: list[Bundle] = []
    prepare = Bundle.prepare

    def watched(b: Bundle, terms: Any) -> None:
        bundles.append(b)
        prepare(b, terms)

    monkeypatch.setattr(Bundle, "prepare", watched)
    shown: list[Tensor] = []
    state.nets["D"].register_forward_hook(lambda _, args, out: shown.append(args[0].detach()))
    run_phase(state, player)
    ((b,), (images,)) = bundles, shown
    views = {"D": [X, G], "G": [G]}[player]
    for view, image in zip(views, images.chunk(4 if player == "D" else 1), strict=False):
        assert torch.equal(image, b[view] / 2 if view.origin() in augmented else b[view])


def test_consistency_is_between_a_view_and_the_transform_of_the_same_draw() -> None:
    transform = DiffAugment(("color", "translation", "cutout"))
    x = torch.rand(3, 1, 8, 8) * 2 - 1
    b = Bundle({}, Prior(2), torch.Generator().manual_seed(0), size=3, given={X: (x, None)}, pre_d=transform)
    assert torch.equal(b.seen(Aug(Paler(), X)), b.seen(X) / 2)
    assert not torch.equal(b.seen(X), x)
    # Where the placement leaves reals alone, so does their augmentation.
    bare = Bundle({}, Prior(2), torch.Generator(), size=3, given={X: (x, None)}, pre_d=transform, pre_d_on=("fake",))
    assert torch.equal(bare.seen(Aug(Paler(), X)), x / 2)


@pytest.mark.parametrize("placement", list(PLACEMENTS))
def test_consistency_with_the_bare_real_is_that_of_the_official_code(placement: str, combinations: ModuleType) -> None:
    """One batch [A(g), A(x), x] with one draw of A for both: the loss is 10·mean (D(x) - D(A(x)))²."""
    terms = {"cr": {"weight": 10.0, "target": "bare"}}
    state = combinations.tiny_state(terms, pre_d=Paler(), pre_d_on=PLACEMENTS[placement])
    twin = copy.deepcopy(state)
    shown: list[Tensor] = []
    state.nets["D"].register_forward_hook(lambda _, args, out: shown.append(args[0].detach()))
    values = run_phase(state, "D")

    x, _ = twin.loader.next()
    z = twin.objective.prior.latents(combinations.BATCH, twin.generator)
    D = twin.nets["D"]
    advance_spectral_norm(D)
    g = twin.nets["G"](z).detach()
    fake = g / 2 if "fake" in PLACEMENTS[placement]["D"] else g
    (batch,) = shown
    assert torch.equal(batch, torch.cat([x / 2, fake, x]))
    on_real, on_fake, on_bare = D(batch).logit.chunk(3)
    consistency = (on_bare - on_real).square().mean()
    torch.testing.assert_close(values["D/cr"], consistency.detach())
    loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean() + 10.0 * consistency
    expected = torch.autograd.grad(loss, list(D.parameters()), allow_unused=True)
    for parameter, gradient in zip(state.nets["D"].parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_bare_real_is_compared_with_the_draw_that_the_game_sees(combinations: ModuleType) -> None:
    state = combinations.tiny_state({"cr": {"target": "bare"}}, pre_d=DiffAugment(("translation", "cutout")))
    shown: list[Tensor] = []
    state.nets["D"].register_forward_hook(lambda _, args, out: shown.append(args[0].detach()))
    x, _ = copy.deepcopy(state.loader).next()
    run_phase(state, "D")
    seen, _, bare = shown[0].chunk(3)
    assert torch.equal(bare, x)
    assert not torch.equal(seen, x)


def test_the_bare_real_needs_an_augmentation_to_differ_from() -> None:
    with pytest.raises(UserError, match=r"cr \(target=bare\) .*diffaugment\.policy is empty; name its policies"):
        build_terms(Game.of(loss="hinge"), terms={"cr": {"target": "bare"}})
    bare = build_terms(Game.of(pre_d=Paler(), loss="hinge"), terms={"cr": {"target": "bare"}})
    assert bare[-1].score == (X, Bare(X))
    with pytest.raises(UserError, match=r"objective\.terms\.cr\.target: .*'bare'"):
        build_terms(Game.of(pre_d=Paler(), loss="hinge"), terms={"cr": {"target": "naked"}})


class LinearCritic(nn.Module):
    """D(x) = ⟨w, x⟩: its gradient is w everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1) @ self.w)


@pytest.mark.parametrize(("through", "factor"), [(False, 1.0), (True, 0.25)])
def test_r1_is_of_the_image_seen_or_goes_through_to_the_image_itself(through: bool, factor: float) -> None:
    """Behind A(x) = x/2 the slope with respect to A(x) is w, with respect to x it is w/2."""
    D = LinearCritic()
    (*_, term) = build_terms(Game.of(pre_d=Paler(), loss="hinge"), terms={"r1": {"through": through}})
    x = torch.randn(3, 1, 4, 4)
    b = Bundle({"D": D}, Prior(2), torch.Generator(), size=3, given={X: (x, None)}, pre_d=Paler())
    b.prepare([term])
    torch.testing.assert_close(term.loss(b), factor * 0.5 * D.w.square().sum())
    (gradient,) = torch.autograd.grad(term.loss(b), D.w)
    torch.testing.assert_close(gradient, factor * D.w.detach())


def test_through_cutout_what_was_cut_has_no_slope() -> None:
    D, transform = LinearCritic(), DiffAugment(("cutout",))
    (*_, term) = build_terms(Game.of(pre_d=transform, loss="hinge"), terms={"r1": {"through": True}})
    x = torch.ones(5, 1, 4, 4)
    b = Bundle({"D": D}, Prior(2), torch.Generator().manual_seed(3), size=5, given={X: (x, None)}, pre_d=transform)
    b.prepare([term])
    kept = transform(x, torch.Generator().manual_seed(3))
    assert torch.equal(b.grad(Through(X)), kept * D.w.detach().view(1, 1, 4, 4))
    assert (kept == 0).any(dim=(1, 2, 3)).all()


def generator_gradient(combinations: ModuleType, **options: Any) -> Tensor:
    state = combinations.tiny_state({}, **options)
    run_phase(state, "G")
    return state.nets["G"].seed.weight.grad.clone()


def test_gradients_reach_the_generator_through_the_augmentation(combinations: ModuleType) -> None:
    transform = DiffAugment(("color", "translation", "cutout"))
    plain = generator_gradient(combinations)
    through = generator_gradient(combinations, pre_d=transform)
    assert through.isfinite().all()
    assert through.abs().max() > 0
    assert not torch.equal(through, plain)
    aside = generator_gradient(combinations, pre_d=transform, pre_d_on=PLACEMENTS["discriminator-only"])
    assert torch.equal(aside, plain)


def test_the_gradient_to_the_generator_is_that_of_the_transform(combinations: ModuleType) -> None:
    nets = {"G": combinations.Generator(), "D": combinations.Critic()}
    terms = [t for t in build_terms(Game.of(loss="wasserstein"), terms={}) if t.player == "G"]
    b = Bundle(nets, Prior(combinations.LATENT), torch.Generator().manual_seed(1), size=4, pre_d=Paler())
    b.prepare(terms)
    weight = nets["G"].out.weight
    (actual,) = torch.autograd.grad(terms[0].loss(b), weight)
    (expected,) = torch.autograd.grad(-nets["D"](nets["G"](b[Z]) / 2).logit.mean(), weight)
    torch.testing.assert_close(actual, expected)


def tree(**sections: Mapping[str, Any]) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": {"path": "digits", "size": 8, "channels": 1},
        "model": {"width": 1, "latent": 4},
        "train": {"batch_size": 4, "device": "cpu"},
    }
    return base | sections


def test_the_configuration_switches_it_on_and_places_it() -> None:
    images = load_images(open_source("digits", size=8), range(8))
    off = build.build_state(task_of(config.validate(tree())), images, torch.device("cpu"))
    assert off.objective.pre_d is None
    augment = {"diffaugment": {"policy": ["translation", "cutout"], "placement": "reals-only"}}
    terms = {"terms": {"cr": {}}}
    on = build.build_state(
        task_of(config.validate(tree(augment=augment, objective=terms))), images, torch.device("cpu")
    )
    assert on.objective.pre_d == DiffAugment(("translation", "cutout"))
    assert on.objective.pre_d_on == PLACEMENTS["reals-only"]
    assert all(value.isfinite() for value in train_step(on).values())


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"diffaugment": {"policy": ["colour"]}}, r"augment\.diffaugment\.policy\.0: .*'color'.*got 'colour'"),
        ({"diffaugment": {"placement": "fakes"}}, r"augment\.diffaugment\.placement: .*'reals-only'.*got 'fakes'"),
        ({"consistency": {"shift": 0.6}}, r"augment\.consistency\.shift: must be at most 0\.5, got 0\.6"),
    ],
)
def test_a_mistake_in_the_augmentation_is_named_by_its_key(augment: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config.validate(tree(augment=augment))


def test_every_shift_a_configuration_allows_is_one_the_transform_takes() -> None:
    largest = config.validate(tree(augment={"consistency": {"shift": 0.5}})).augment.consistency
    assert Consistency(**largest.model_dump()).shift == 0.5


def test_the_names_of_the_placements_are_those_of_the_configuration() -> None:
    for placement in PLACEMENTS:
        chosen = config.validate(tree(augment={"diffaugment": {"placement": placement}}))
        assert chosen.augment.diffaugment.placement == placement
    with pytest.raises(UserError, match=" or ".join(f"'{name}'" for name in list(PLACEMENTS)[-2:])):
        config.validate(tree(augment={"diffaugment": {"placement": "?"}}))
