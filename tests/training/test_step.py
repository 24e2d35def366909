"""A phase: updated and unchanged parameters, network calls, micro-batches, lazy terms, broken gradients."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training.games import (
    BATCH,
    ICR,
    LATENT,
    SIZE,
    AffineGenerator,
    Float64Loader,
    LinearCritic,
    count_calls,
    gradients,
    make_state,
    parameters,
    same,
    singular_vectors,
)

from steadygan import build, config
from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.generators.sampling import sample, standing_statistics
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.layers import Conv2d, Score
from steadygan.nets.registry import create_critic
from steadygan.nets.spectral_norm import SpectralNorm
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.objective.views import Real
from steadygan.tasks import critic
from steadygan.tasks.choice import task_of
from steadygan.training.state import TrainState
from steadygan.training.step import fetch, micro_batches, run_phase, train_step

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images(open_source("digits", size=SIZE), range(40))


@pytest.mark.parametrize(
    ("terms", "player", "expected"),
    [
        (ICR, "D", {"G": 1, "D": 1}),
        (ICR, "G", {"G": 1, "D": 1}),
        ({**ICR, "r1": {}, "gp": {}}, "D", {"G": 1, "D": 2}),
        ({**ICR, "r1": {}, "gp": {}}, "G", {"G": 1, "D": 1}),
    ],
)
def test_a_phase_calls_each_network_as_seldom_as_it_can(
    images: ImageSet, terms: Mapping[str, Any], player: str, expected: dict[str, int]
) -> None:
    state = make_state(images, terms)
    calls = count_calls(state)
    run_phase(state, player)
    assert calls == expected


def test_reals_that_g_is_only_compared_with_do_not_count_as_images_shown(images: ImageSet) -> None:
    state = make_state(images, loss="relativistic")
    run_phase(state, "G")
    assert state.images == 0
    run_phase(state, "D")
    assert state.images == BATCH


def test_the_relativistic_game_pushes_each_fake_past_a_real(images: ImageSet) -> None:
    nets = {"G": AffineGenerator(), "D": LinearCritic()}
    state = make_state(images, loss="relativistic", nets=nets)
    x = Float64Loader(images, batch_size=BATCH, seed=3).next()[0]
    z = state.objective.prior.latents(BATCH, torch.Generator().manual_seed(4))
    expected = torch.nn.functional.softplus(nets["D"](x).logit - nets["D"](nets["G"](z)).logit).mean()
    gradient = torch.autograd.grad(expected, list(nets["G"].parameters()))
    values = run_phase(state, "G")
    torch.testing.assert_close(values["G/adversarial"], expected.detach())
    for actual, wanted in zip(gradients(nets["G"]), gradient, strict=True):
        torch.testing.assert_close(actual, wanted)


def test_a_phase_is_one_adam_step_on_the_weighted_sum(images: ImageSet) -> None:
    nets = {"G": AffineGenerator(), "D": LinearCritic()}
    state = make_state(images, {"r1": {"gamma": 3.0}}, loss="wasserstein", nets=nets)
    x = Float64Loader(images, batch_size=BATCH, seed=3).next()[0].flatten(1)
    z = torch.randn(BATCH, LATENT, generator=torch.Generator().manual_seed(4))
    w, g = nets["D"].w.detach().clone(), nets["G"](z).detach().flatten(1)
    values = run_phase(state, "D")
    gradient = g.mean(0) - x.mean(0) + 3.0 * w
    torch.testing.assert_close(nets["D"].w.grad, gradient)
    # Adam's first step has length lr along the sign of the gradient.
    torch.testing.assert_close(nets["D"].w.detach(), w - 1e-2 * gradient / (gradient.abs() + 1e-8))
    torch.testing.assert_close(values["D/adversarial"], (g @ w).mean() - (x @ w).mean())
    torch.testing.assert_close(values["D/r1"], 0.5 * w.square().sum())
    torch.testing.assert_close(values["D/grad_norm"], gradient.norm())
    assert not any(value.requires_grad for value in values.values())


def test_the_critics_phase_leaves_the_generator_alone(images: ImageSet) -> None:
    state = make_state(images, {**ICR, "gp": {}})
    fakes: list[Tensor] = []
    state.nets["G"].register_forward_hook(lambda _, args, out: fakes.append(out))
    with torch.no_grad():
        for parameter in state.ema.net.parameters():
            parameter += 1
    before, average, moved = parameters(state.nets["G"]), parameters(state.ema.net), parameters(state.nets["D"])
    run_phase(state, "D")
    assert all(same(before, parameters(state.nets["G"])))
    assert all(same(average, parameters(state.ema.net)))
    assert all(parameter.grad is None for parameter in state.nets["G"].parameters())
    assert [fake.requires_grad for fake in fakes] == [False]
    assert not any(same(moved, parameters(state.nets["D"])))


def test_the_generators_phase_leaves_the_critic_alone(images: ImageSet) -> None:
    state = make_state(images, ICR)
    critic, average, moved = parameters(state.nets["D"]), parameters(state.ema.net), parameters(state.nets["G"])
    run_phase(state, "G")
    assert all(same(critic, parameters(state.nets["D"])))
    assert all(parameter.grad is None for parameter in state.nets["D"].parameters())
    assert any(not still for still in same(moved, parameters(state.nets["G"])))
    assert any(not still for still in same(average, parameters(state.ema.net)))


def test_gradients_do_not_pile_up_over_phases(images: ImageSet) -> None:
    state = make_state(images, ICR)
    train_step(state)
    kept = gradients(state.nets["D"])
    run_phase(state, "G")
    assert all(same(kept, gradients(state.nets["D"])))
    before = copy.deepcopy(state)
    run_phase(state, "D")
    before.optimizers["D"].zero_grad()
    run_phase(before, "D")
    assert all(same(gradients(before.nets["D"]), gradients(state.nets["D"])))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("player", "other"), [("D", "G"), ("G", "D")])
def test_spectral_norm_advances_once_in_a_phase_of_its_player(
    images: ImageSet, player: str, other: str, accumulate: int
) -> None:
    state = make_state(images, {**ICR, "gp": {}}, accumulate=accumulate)
    for net in state.nets.values():
        for vector in [buffer for name, buffer in net.named_buffers() if name.endswith((".u", ".v"))]:
            vector.copy_(F.normalize(torch.randn_like(vector), dim=0))
    expected: list[Tensor] = []
    for layer in state.nets[player].modules():
        if isinstance(layer, SpectralNorm) and layer.spectral_norm:
            matrix = layer.weight.detach().flatten(1)
            v = F.normalize(matrix.T @ layer.u, dim=0)
            expected += [F.normalize(matrix @ v, dim=0), v]
    still = singular_vectors(state.nets[other])
    run_phase(state, player)
    assert all(same(still, singular_vectors(state.nets[other])))
    for actual, vector in zip(singular_vectors(state.nets[player]), expected, strict=True):
        torch.testing.assert_close(actual, vector)


def test_reading_a_network_does_not_move_its_spectral_norm(images: ImageSet) -> None:
    state = make_state(images)
    train_step(state)
    critic, generator = state.nets["D"], state.ema.net
    before = singular_vectors(critic), singular_vectors(generator)
    critic(torch.randn(2, 1, SIZE, SIZE))
    with torch.no_grad():
        critic(torch.randn(2, 1, SIZE, SIZE))
    standing_statistics(generator, state.objective.prior, batches=2, batch_size=4)
    sample(generator, state.objective.prior, 3)
    assert all(same(before[0], singular_vectors(critic)))
    assert all(same(before[1], singular_vectors(generator)))


def test_reals_are_not_fetched_in_a_phase_that_does_not_look_at_them(images: ImageSet) -> None:
    state = make_state(images, ICR)
    run_phase(state, "G")
    assert (state.loader.position, state.images) == (0, 0)
    run_phase(state, "D")
    assert (state.loader.position, state.images) == (BATCH, BATCH)


def test_reals_come_in_order_with_their_labels_in_equal_parts(images: ImageSet) -> None:
    state = make_state(images, classes=10, accumulate=4)
    x, y = Float64Loader(images, batch_size=BATCH, seed=3).next()
    parts = micro_batches(state, "D", fetch(state, [term for term in state.objective.terms if term.player == "D"]))
    assert [size for _, size in parts] == [2] * 4
    assert torch.equal(torch.cat([given[Real()][0] for given, _ in parts]), x)
    assert torch.equal(torch.cat([given[Real()][1] for given, _ in parts]), y)
    assert fetch(state, [term for term in state.objective.terms if term.player == "G"]) == {}
    assert micro_batches(state, "G", {}) == [({}, 2)] * 4


def test_an_unconditional_model_does_not_see_the_labels(images: ImageSet) -> None:
    assert images.labels is not None
    (pair,) = fetch(make_state(images), make_state(images).objective.terms).values()
    assert pair[1] is None


class Stock(Prior):
    """A prior that hands out one fixed batch of latents, portion by portion."""

    def latents(self, num: int, generator: torch.Generator, **options: Any) -> Tensor:
        at = int(generator.initial_seed())
        generator.manual_seed(at + num)
        return torch.randn(BATCH, LATENT, generator=torch.Generator().manual_seed(9))[at : at + num]


@pytest.mark.parametrize("player", ["D", "G"])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_give_the_gradient_of_the_whole_batch(images: ImageSet, player: str, accumulate: int) -> None:
    torch.manual_seed(1)
    nets = {"G": AffineGenerator(), "D": create_critic("dcgan", size=SIZE, channels=1, classes=0, width=2)}
    whole, parts = (
        make_state(
            images,
            {"bcr": {}, "r1": {"gamma": 2.0}},
            nets=copy.deepcopy(nets),
            prior=Stock(LATENT),
            generator=torch.Generator().manual_seed(0),
            accumulate=k,
        )
        for k in (1, accumulate)
    )
    calls = count_calls(parts)
    expected, actual = run_phase(whole, player), run_phase(parts, player)
    assert calls["G"] == accumulate
    assert expected.keys() == actual.keys()
    for name, value in actual.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-14, msg=name)
    for a, b in zip(gradients(parts.nets[player]), gradients(whole.nets[player]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)
    reached = [float(a.abs().max()) > 0 for a in gradients(parts.nets[player])]
    assert sum(reached) >= len(reached) - 1  # reals and fakes may pull the logit's bias alike, and cancel
    assert parts.images == whole.images


def test_a_lazy_term_is_as_strong_on_average_and_live_every_nth_phase(images: ImageSet) -> None:
    nets = {"G": AffineGenerator(), "D": LinearCritic()}
    state = make_state(images, {"r1": {"gamma": 3.0, "every": 4}}, loss="wasserstein", nets=nets)
    plain = make_state(images, loss="wasserstein", nets=copy.deepcopy(nets))
    live = []
    for _ in range(6):
        w = nets["D"].w.detach().clone()
        plain.nets["D"].w.data.copy_(w)
        values = run_phase(state, "D")
        run_phase(plain, "D")
        live.append("D/r1" in values)
        penalty = nets["D"].w.grad - plain.nets["D"].w.grad
        torch.testing.assert_close(penalty, 4 * 3.0 * w if live[-1] else torch.zeros_like(w))
    assert live == [True, False, False, False, True, False]


def test_a_lazy_term_counts_the_phases_of_its_own_player(images: ImageSet) -> None:
    state = make_state(images, {"r1": {"every": 2}})
    run_phase(state, "G")
    assert "D/r1" in run_phase(state, "D")
    run_phase(state, "G")
    assert "D/r1" not in run_phase(state, "D")


def broken(player: str, factor: Tensor) -> Term:
    """A term that costs nothing until its factor is not finite."""
    fake = Game.of().fake
    return Term("broken", player, lambda b: factor * b.D(fake).logit.mean(), score=(fake,))


def moments(state: TrainState, player: str) -> list[Tensor]:
    entries = state.optimizers[player].state.values()
    return [entry[key].clone() for entry in entries for key in ("exp_avg", "exp_avg_sq", "step")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("player", ["D", "G"])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(
    images: ImageSet, player: str, value: float
) -> None:
    factor = torch.zeros(())
    state = make_state(images, [broken(player, factor)])
    run_phase(state, player)
    assert int(state.skipped) == 0
    kept, kept_moments = parameters(state.nets[player]), moments(state, player)
    factor.fill_(value)
    for skipped in (1, 2):
        values = run_phase(state, player)
        assert not values[f"{player}/grad_norm"].isfinite()
        assert int(state.skipped) == skipped
    assert all(same(kept, parameters(state.nets[player])))
    assert all(same(kept_moments, moments(state, player)))
    assert all(tensor.isfinite().all() for tensor in parameters(state.ema.net))
    factor.fill_(0)
    run_phase(state, player)
    assert int(state.skipped) == 2
    assert not any(same(kept_moments, moments(state, player)))
    assert any(not still for still in same(kept, parameters(state.nets[player])))


def test_a_step_runs_the_phases_in_order(images: ImageSet) -> None:
    state = make_state(images, {"zcr": {}}, phases=("D", "D", "G"))
    order: list[str] = []
    for name, optimizer in state.optimizers.items():
        optimizer.register_step_post_hook(lambda *_, name=name: order.append(name))
    values = train_step(state)
    train_step(state)
    assert order == ["D", "D", "G"] * 2
    assert (state.step, state.images, dict(state.counts)) == (2, 4 * BATCH, {"D": 4, "G": 2})
    assert values.keys() == {
        "D/adversarial",
        "D/zcr_dis",
        "D/grad_norm",
        "G/adversarial",
        "G/zcr_gen",
        "G/grad_norm",
    }


def test_the_average_follows_the_generator_from_the_step_that_is_being_taken(images: ImageSet) -> None:
    state = make_state(images)
    state.ema.start = 1
    train_step(state)
    assert all(same(parameters(state.ema.net), parameters(state.nets["G"])))
    before = parameters(state.ema.net)
    train_step(state)
    for average, old, new in zip(parameters(state.ema.net), before, parameters(state.nets["G"]), strict=True):
        torch.testing.assert_close(average, old + (1 - 0.5**0.1) * (new - old))


def test_a_step_is_a_function_of_the_state(images: ImageSet) -> None:
    state = make_state(images, {**ICR, "gp": {}}, classes=10)
    other = copy.deepcopy(state)
    torch.manual_seed(5)
    first = train_step(state)
    torch.manual_seed(6)
    second = train_step(other)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert all(torch.equal(value, other.weights()[name]) for name, value in state.weights().items())


@pytest.mark.parametrize("term", [Term("mine", "critic", lambda b: b), Term("mine", "D", lambda b: b, critic="D2")])
def test_a_term_for_nobody_is_refused(images: ImageSet, term: Term) -> None:
    with pytest.raises(UserError, match=r"mine is for player .*; there are players D, G and networks G, D"):
        make_state(images, [term])


class NormalisedCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = Conv2d(1, 4, 3), BatchNorm2d(4)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(self.norm(self.conv(x)).relu().mean((1, 2, 3)))


@pytest.mark.parametrize("normalised", [False, True])
def test_a_critic_with_batch_statistics_is_built_to_score_each_view_by_itself(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch, normalised: bool
) -> None:
    torch.set_default_dtype(torch.float32)
    if normalised:
        monkeypatch.setattr(critic, "build_network", lambda *_: NormalisedCritic())
    tree = {
        "data": {"path": "digits", "size": SIZE, "channels": 1},
        "model": {"width": 1, "latent": LATENT},
        "train": {"batch_size": BATCH, "device": "cpu"},
        "objective": {"terms": ICR},
    }
    state = build.build_state(task_of(config.validate(tree)), images, torch.device("cpu"))
    assert state.objective.joint is not normalised
    calls = count_calls(state)
    run_phase(state, "D")
    # x, g, T(x), T(g) and G(z + Δz): one pass each, or one for all.
    assert calls == {"G": 1, "D": 5 if normalised else 1}
