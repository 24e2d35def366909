"""Views and bundles: shared tensors, number of computations, labels, `pre_d`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.layers import Score
from steadygan.objective.batch import View, walk
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game, adversarial
from steadygan.objective.registry import TERMS, build_terms
from steadygan.objective.terms import Term
from steadygan.objective.views import Aug, Gen, Latent, Lerp, Nudge, Real

pytestmark = pytest.mark.usefixtures("float64")

N, LATENT, CLASSES = 6, 4, 5
X, Z = Real(), Latent()
G = Gen("G", Z)


@dataclass(frozen=True)
class Noisy:
    """x + N(0, 1)·strength, counting its calls."""

    strength: float = 1.0
    calls: list[Tensor] = field(default_factory=list, compare=False)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        self.calls.append(x)
        return x + self.strength * torch.randn(x.shape, generator=generator)


@dataclass(frozen=True)
class Affine:
    """a·x + b, counting its calls."""

    a: float
    b: float = 0.0
    calls: list[Tensor] = field(default_factory=list, compare=False)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        self.calls.append(x)
        return self.a * x + self.b


class Painter(nn.Module):
    """G(z) = W z as a 1×2×2 image; records its calls."""

    def __init__(self, features: int = LATENT) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 4)
        self.calls: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        self.calls.append((z, y))
        return self.linear(z.flatten(1)).view(-1, 1, 2, 2)


class Judge(nn.Module):
    """A linear discriminator with features and pixels; records its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4))
        self.calls: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        self.calls.append((x, y))
        return Score(x.flatten(1) @ self.w, features=x.flatten(1), pixels=2 * x)


def make_bundle(nets: Mapping[str, nn.Module] | None = None, *, conditional: bool = False, **options: Any) -> Bundle:
    x = torch.randn(N, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    y = torch.tensor([4, 3, 2, 1, 0, 4]) if conditional else None
    prior = Prior(LATENT, label_pool=torch.arange(CLASSES) if conditional else None)
    nets = nets if nets is not None else {"G": Painter(), "D": Judge()}
    return Bundle(nets, prior, torch.Generator().manual_seed(2), size=N, given={X: (x, y)}, **options)


def of(terms: tuple[Term, ...], player: str) -> list[Term]:
    return [term for term in terms if term.player == player]


@pytest.mark.parametrize(
    ("view", "equal", "different"),
    [
        (Latent(), Latent(0), Latent(1)),
        (Gen("G", Latent()), Gen("G", Latent()), Gen("G2", Latent())),
        (Nudge(Z, 0.1), Nudge(Latent(), 0.1), Nudge(Z, 0.2)),
        (Aug(Noisy(), X), Aug(Noisy(), Real()), Aug(Noisy(), X, draw=1)),
        (Aug(Noisy(), X), Aug(Noisy(), Real()), Aug(Noisy(2.0), X)),
        (Lerp(X, G), Lerp(Real(), Gen("G", Latent())), Lerp(G, X)),
    ],
)
def test_equal_expressions_are_one_tensor_and_different_ones_are_not(view: View, equal: View, different: View) -> None:
    assert view == equal
    assert hash(view) == hash(equal)
    assert view != different
    b = make_bundle({"G": Painter(), "G2": Painter()})
    assert b[view] is b[equal]
    assert not torch.equal(b[view], b[different])


def test_another_draw_is_another_sample_of_the_same_source() -> None:
    b = make_bundle()
    transform = Noisy()
    first, second = b[Aug(transform, X)], b[Aug(transform, X, draw=1)]
    assert not torch.equal(first, second)
    assert all(torch.equal(source, b[X]) for source in transform.calls)


def test_walk_gives_every_view_once_and_inputs_first() -> None:
    nudged = Gen("G", Nudge(Z, 0.1))
    views = [Lerp(X, G), nudged, Aug(Noisy(), G), X]
    order = list(walk(views))
    assert len(order) == len(set(order))
    assert set(order) == {X, Z, G, Lerp(X, G), Nudge(Z, 0.1), nudged, Aug(Noisy(), G)}
    for position, view in enumerate(order):
        assert all(order.index(source) < position for source in view.inputs())


def test_labels_travel_with_views() -> None:
    b = make_bundle(conditional=True)
    real, sampled = b.labels(X), b.labels(Z)
    assert real is not None
    assert sampled is not None
    assert real.tolist() == [4, 3, 2, 1, 0, 4]
    assert not torch.equal(real, sampled)
    for view in (G, Nudge(Z, 0.1), Gen("G", Nudge(Z, 0.1)), Aug(Noisy(), G), Lerp(G, X)):
        assert b.labels(view) is sampled
    for view in (Aug(Noisy(), X), Lerp(X, G), Aug(Noisy(), Aug(Noisy(), X))):
        assert b.labels(view) is real
    assert not torch.equal(b.labels(Latent(1)), sampled)


def test_every_view_reaches_the_networks_with_its_own_labels() -> None:
    b = make_bundle(conditional=True)
    terms = of(build_terms(Game.of(Noisy(), loss="hinge"), terms={"bcr": {}, "zcr": {}, "gp": {}}), "D")
    b.prepare(terms)
    real, fake = b.labels(X), b.labels(Z)
    assert [y.tolist() for _, y in b.nets["G"].calls] == [torch.cat([fake, fake]).tolist()]
    joint, gradient = (y.tolist() for _, y in b.nets["D"].calls)
    # In the order of the terms: x, g; T(x), T(g); G(z + Δz).
    assert joint == torch.cat([real, fake, real, fake, fake]).tolist()
    assert gradient == real.tolist()


def test_an_unconditional_batch_has_no_labels() -> None:
    b = make_bundle()
    b.prepare(adversarial(Game.of()))
    assert b.labels(G) is None
    assert [y for _, y in b.nets["D"].calls + b.nets["G"].calls] == [None, None]


def test_labels_for_some_views_of_a_pass_only_are_refused() -> None:
    b = make_bundle()
    b.prior = Prior(LATENT, label_pool=torch.arange(CLASSES))
    with pytest.raises(ValueError, match="only some of the views in one pass have labels"):
        b.prepare(adversarial(Game.of()))


@pytest.mark.parametrize(
    ("terms", "player", "generator_calls", "critic_calls"),
    [
        ({}, "D", 1, 1),
        ({}, "G", 1, 1),
        ({"bcr": {}, "zcr": {}}, "D", 1, 1),
        ({"bcr": {}, "zcr": {}}, "G", 1, 1),
        ({"bcr": {}, "zcr": {}, "r1": {}, "gp": {}}, "D", 1, 2),
        ({"bcr": {}, "zcr": {}, "r1": {}, "gp": {}}, "G", 1, 1),
        ({"r1": {}}, "D", 1, 2),
    ],
)
def test_one_call_of_each_network_however_many_terms(
    terms: dict[str, dict[str, float]], player: str, generator_calls: int, critic_calls: int
) -> None:
    b = make_bundle()
    live = of(build_terms(Game.of(Noisy(), loss="hinge"), terms=terms), player)
    b.prepare(live)
    for term in live:
        term.loss(b)
    assert len(b.nets["G"].calls) == generator_calls
    assert len(b.nets["D"].calls) == critic_calls


def test_each_fake_and_each_score_is_made_once_however_many_terms_ask() -> None:
    b = make_bundle()
    b.prepare(of(build_terms(Game.of(Noisy(), loss="hinge"), terms={"bcr": {}, "zcr": {}, "gp": {}}), "D"))
    assert len(b.nets["G"].calls[0][0]) == 2 * N
    assert len(b.nets["D"].calls[0][0]) == 5 * N
    assert len(b.nets["D"].calls[1][0]) == N


def test_a_generator_can_work_on_another_generators_image() -> None:
    first, second, judge = Painter(), Painter(4), Judge()
    b = make_bundle({"G": first, "G2": second, "D": judge})
    twice, nudged = Gen("G2", G), Gen("G2", Gen("G", Nudge(Z, 0.1)))
    term = Term("translated", "G", lambda b: b.D(twice).logit.mean() - b.D(nudged).logit.mean(), score=(twice, nudged))
    b.prepare([term])
    assert (len(first.calls), len(second.calls), len(judge.calls)) == (1, 1, 1)
    torch.testing.assert_close(b[twice], second(first(b[Z])))
    torch.testing.assert_close(b[nudged], second(first(b[Nudge(Z, 0.1)])))
    term.loss(b).backward()
    assert first.linear.weight.grad is not None
    assert first.linear.weight.grad.abs().max() > 0


def test_a_generator_can_work_on_its_own_image() -> None:
    net = Painter()
    b = make_bundle({"G": net})
    again = Gen("G", G)
    assert torch.equal(b[again], net(b[G].detach()))
    torch.testing.assert_close(b[G], net(b[Z]))


def test_a_bundle_leaves_the_generators_batch_norm_ungrouped() -> None:
    net = nn.Sequential(nn.Unflatten(1, (LATENT, 1, 1)), BatchNorm2d(LATENT))
    net.forward = lambda z, y=None: net[1](net[0](z))  # type: ignore[method-assign]
    b = make_bundle({"G": net})
    b.generate([G, Gen("G", Nudge(Z, 0.1)), Gen("G", Latent(1))])
    net(torch.randn(N - 1, LATENT), None)
    assert int(net[1].num_batches_tracked) == 4


def test_scores_come_with_every_field_of_the_critic() -> None:
    b = make_bundle()
    b.prepare(adversarial(Game.of()))
    for view in (X, G):
        torch.testing.assert_close(b.D(view).logit, b[view].flatten(1) @ b.nets["D"].w)
        torch.testing.assert_close(b.D(view).features, b[view].flatten(1))
        torch.testing.assert_close(b.D(view).pixels, 2 * b[view])


def test_a_differentiated_view_has_a_score_too() -> None:
    b = make_bundle()
    b.prepare(TERMS["r1"](Game.of()))
    torch.testing.assert_close(b.D(X).logit, b[X].flatten(1) @ b.nets["D"].w)


def test_a_loss_is_given_the_scores_of_its_terms_critic_whoever_was_asked_before() -> None:
    b = make_bundle({"G": Painter(), "D": Judge(), "D2": Judge()})
    logit = lambda b: b.D(X).logit.mean()  # noqa: E731
    first, second = Term("first", "D", logit, score=(X,)), Term("second", "D", logit, score=(X,), critic="D2")
    b.prepare([first, second])
    mean = {name: (b[X].flatten(1) @ b.nets[name].w).mean() for name in ("D", "D2")}
    for term in (first, second, first):
        torch.testing.assert_close(b.loss(term), mean[term.critic])
    late = b.scored_by("D")
    b.loss(second)
    torch.testing.assert_close(late.D(X).logit.mean(), mean["D"])
    assert len(b.nets["D2"].calls[0][0]) == N


def test_a_loss_sees_all_that_a_view_sees() -> None:
    b = make_bundle()
    b.prepare(TERMS["r1"](Game.of()))
    scored = b.scored_by("D")
    assert scored[X] is b[X]
    assert scored.labels(X) is b.labels(X)
    assert scored.seen(X) is b.seen(X)
    assert (scored.size, scored.generator, scored.nets, scored.prior) == (b.size, b.generator, b.nets, b.prior)
    assert torch.equal(scored.grad(X), b.grad(X))


def test_an_undeclared_view_is_named_in_the_error() -> None:
    b = make_bundle()
    b.prepare(adversarial(Game.of()))
    with pytest.raises(KeyError, match=r"no term declares Nudge\(.*\) in its `score` for critic 'D'"):
        b.D(Gen("G", Nudge(Z, 0.1)).source)
    with pytest.raises(KeyError, match=r"no term declares Real\(domain='x'\) in its `grads` for critic 'D'"):
        b.grad(X)
    with pytest.raises(KeyError, match=r"Real\(domain='y'\) is not part of this batch"):
        b[Real("y")]


@pytest.mark.parametrize("player", ["D", "G"])
def test_pre_d_transforms_every_view_once_on_its_way_into_the_critic(player: str) -> None:
    pre_d, transform = Noisy(), Affine(2.0, 0.5)
    b = make_bundle(pre_d=pre_d)
    objective = build_terms(Game.of(transform, loss="hinge"), terms={"bcr": {}, "zcr": {}, "r1": {}, "gp": {}})
    b.prepare(of(objective, player))
    sources = {"D": [X, G, Gen("G", Nudge(Z, 0.03)), Lerp(X, G)], "G": [G]}[player]
    for image, view in zip(pre_d.calls, sources, strict=True):
        assert torch.equal(image, b[view])
    scored = dict.fromkeys(view for term in of(objective, player) for view in term.score)
    assert torch.equal(b.nets["D"].calls[0][0], torch.cat([b.seen(view) for view in scored]))
    assert not torch.equal(b.seen(G), b[G])


def test_an_augmented_view_is_the_transform_of_the_same_pre_d_draw() -> None:
    transform = Affine(2.0, 0.5)
    b = make_bundle(pre_d=Noisy())
    b.prepare(of(build_terms(Game.of(transform, loss="hinge"), terms={"bcr": {}}), "D"))
    x, g, augmented_x, augmented_g = b.nets["D"].calls[0][0].chunk(4)
    assert not torch.equal(x, b[X])
    assert torch.equal(augmented_x, 2 * x + 0.5)
    assert torch.equal(augmented_g, 2 * g + 0.5)


def test_a_penalty_differentiates_at_the_image_as_the_critic_sees_it() -> None:
    pre_d = Affine(0.25, 1.0)
    b = make_bundle(pre_d=pre_d)
    b.prepare([*adversarial(Game.of()), *TERMS["r1"](Game.of())])
    assert len(pre_d.calls) == 2
    joint, leaf = (x for x, _ in b.nets["D"].calls)
    assert torch.equal(leaf, joint[:N])
    # Behind pre_d the gradient of ⟨w, ·⟩ is w; before it, it would be w/4.
    torch.testing.assert_close(b.grad(X), b.nets["D"].w.expand(N, 4).view(N, 1, 2, 2))


def test_gradients_reach_the_generator_through_pre_d() -> None:
    b = make_bundle(pre_d=Affine(0.25, 1.0))
    terms = of(build_terms(Game.of(loss="wasserstein"), terms={"zcr": {}}), "G")
    b.prepare(terms)
    game, apart = (term.loss(b) for term in terms)
    weight = b.nets["G"].linear.weight
    (actual,) = torch.autograd.grad(game, weight, retain_graph=True)
    torch.testing.assert_close(actual, -0.25 * torch.outer(b.nets["D"].w.detach(), b[Z].mean(0)))
    # The distance between images is that of the images themselves.
    torch.testing.assert_close(apart, -(b[G] - b[Gen("G", Nudge(Z, 0.03))]).square().mean())
