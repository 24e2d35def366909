"""Measuring a run: correct values, without affecting the run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import load_file
from torch import nn

import steadygan
from steadygan import build, config
from steadygan.nets.layers import Linear
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.spectral_norm import Spectral
from steadygan.tasks.choice import build_images, task_of
from steadygan.training.instruments import (
    EXACT_UP_TO,
    instability,
    look_at_fakes,
    reading,
    singular_values,
    spread,
    weight_matrices,
)
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase

TINY = tiny_run("data.channels=3", "train.precision=float32")


@pytest.mark.parametrize("shape", [(5, 7), (64, 300), (EXACT_UP_TO, 300)])
def test_singular_values_of_small_matrices_are_exact(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(singular_values(matrix), torch.linalg.svdvals(matrix)[:3])


@pytest.mark.parametrize("shape", [(EXACT_UP_TO + 1, 300), (400, 290)])
def test_singular_values_of_large_matrices_are_iterated_for(shape: tuple[int, int]) -> None:
    """A random matrix has the flattest spectrum there is; in a trained one the first values stand out."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(singular_values(matrix), torch.linalg.svdvals(matrix)[:3], rtol=0.01, atol=0)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    steep = u @ torch.diag(s * torch.linspace(1, 0.5, len(s))) @ v
    torch.testing.assert_close(singular_values(steep), torch.linalg.svdvals(steep)[:3], rtol=1e-4, atol=0)


def test_a_matrix_of_few_rows_has_as_few_singular_values() -> None:
    torch.testing.assert_close(singular_values(torch.tensor([[3.0, 4.0]])), torch.tensor([5.0]))


def test_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    singular_values(torch.ones(EXACT_UP_TO + 1, EXACT_UP_TO + 1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["dcgan", "resnet", "biggan", "biggan-deep", "unet", "stylegan2"])
def test_every_weight_is_measured_as_the_matrix_it_acts_as(kind: str) -> None:
    sizes = {"size": 32, "channels": 3, "classes": 3, "width": 4}
    for net in (create_generator(kind, **sizes, latent=20), create_critic(kind, **sizes)):
        found = {name: matrix for name, _, matrix in weight_matrices(net)}
        modules = dict(net.named_modules())
        expected = {
            name.removesuffix(".weight")
            for name, parameter in net.named_parameters()
            if parameter.ndim > 1 and name.endswith(("weight", ".embedding"))
        }
        assert found.keys() == expected
        for name, matrix in found.items():
            module = modules.get(name)
            if isinstance(module, nn.Conv2d):
                assert matrix.shape == (module.out_channels, module.weight[0].numel())
            elif isinstance(module, nn.ConvTranspose2d):
                assert matrix.shape == (module.out_channels, module.in_channels * module.weight[0, 0].numel())


def test_names_and_values_of_what_is_recorded() -> None:
    net = nn.Sequential(Linear(3, 4, spectral=Spectral()), nn.ReLU(), Linear(4, 1))
    net(torch.ones(2, 3)).sum().backward()
    found = instability({"D": net})
    assert found.keys() == {"sigma/D/0", "sigma/D/2", "grad/D/0", "grad/D/2"}
    weight = net[0].weight
    assert found["sigma/D/0"] == pytest.approx(torch.linalg.svdvals(weight)[:3].tolist(), rel=1e-5), "not normalised"
    assert found["sigma/D/2"] == pytest.approx([float(net[2].weight.detach().norm())], rel=1e-5)
    assert found["grad/D/0"] == pytest.approx(float(weight.grad.norm()), rel=1e-5)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_is_recorded_as_null(value: float) -> None:
    net = Linear(2, 1)
    net(torch.full((1, 2), value)).sum().backward()
    assert instability({"G": net})["grad/G/"] is None
    nn.init.constant_(net.weight, value)
    assert instability({"G": net})["sigma/G/"] == [None]


def test_the_spread_is_the_root_mean_square_distance_of_all_pairs() -> None:
    images = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    flat = images.flatten(1)
    squares = [(flat[i] - flat[j]).square().sum() for i in range(7) for j in range(7) if i != j]
    torch.testing.assert_close(spread(images), torch.stack(squares).mean().sqrt())
    assert float(spread(images[:1].expand(5, -1, -1, -1))) == 0


@pytest.fixture
def state() -> TrainState:
    cfg = build.resolve(config.load("digits", [*TINY, "model.kind=stylegan2"]))
    device = torch.device("cpu")
    return build.build_state(task_of(cfg), build_images(cfg, device).train, device)


def test_fakes_are_looked_at_without_a_trace(state: TrainState) -> None:
    """Even in a generator with inner noise, style mixing and a running average, and a D with batch statistics."""
    before = {key: value.clone() for key, value in state.weights().items()}
    rng, own = torch.get_rng_state(), state.generator.get_state()
    looks = [look_at_fakes(state, seed=0, boundary=0.0, reals_spread=torch.tensor(2.0)) for _ in range(2)]
    assert looks[0] == looks[1], "always the same latents"
    assert looks[0].keys() == {"G_diversity", "D_accuracy_fake"}
    assert all(torch.equal(value, before[key]) for key, value in state.weights().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert torch.equal(state.generator.get_state(), own)
    assert all(net.training for net in state.nets.values())


def test_diversity_is_a_share_of_the_reals_and_accuracy_that_on_fakes(state: TrainState) -> None:
    whole = look_at_fakes(state, seed=0, boundary=None, reals_spread=torch.tensor(1.0))
    assert look_at_fakes(state, seed=0, boundary=None, reals_spread=torch.tensor(4.0))["G_diversity"] == pytest.approx(
        whole["G_diversity"] / 4
    )
    assert whole.keys() == {"G_diversity"}, "a loss without a boundary has no accuracy"
    shares = [
        look_at_fakes(state, seed=0, boundary=boundary, reals_spread=torch.tensor(1.0))["D_accuracy_fake"]
        for boundary in (-math.inf, math.inf)
    ]
    assert shares == [0, 1]


def test_networks_come_back_in_the_mode_they_were_in() -> None:
    nets = nn.Linear(1, 1).train(), nn.Linear(1, 1).eval()
    with reading(*nets):
        assert [net.training for net in nets] == [False, False]
    assert [net.training for net in nets] == [True, False]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_run_with_instruments_is_bit_for_bit_the_run_without(tmp_path: Path) -> None:
    options = [*TINY, "model.kind=stylegan2", "train.steps=6", "train.log_every=2", "train.phases=[D, D, G]"]
    plain = steadygan.train("digits", options, out=tmp_path / "plain").path
    measured = steadygan.train("digits", [*options, "train.instruments_every=2"], out=tmp_path / "measured").path
    name = "checkpoints/step-00000006/weights.safetensors"
    a, b = load_file(plain / name), load_file(measured / name)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    for without, with_them in zip(rows(plain), rows(measured), strict=True):
        extra = with_them.keys() - without.keys()
        assert {key.split("/")[0] for key in extra} == {"sigma", "grad"}
        for key in without.keys() - {"seconds", "images_per_s"}:
            assert without[key] == with_them[key]
    weights = {key for key in a if key.startswith("G.") and key.endswith("conv.weight")}
    last = rows(measured)[-1]
    for key in weights:
        expected = torch.linalg.svdvals(a[key].flatten(1))[:3].tolist()
        assert last[f"sigma/G/{key.removeprefix('G.').removesuffix('.weight')}"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("every", "steps"), [(0, []), (1, [3, 6, 8]), (4, [6, 8]), (6, [6]), (7, [8]), (100, [])])
def test_instruments_are_read_in_the_first_line_at_or_after_each_multiple(
    tmp_path: Path, every: int, steps: list[int]
) -> None:
    options = [*TINY, "train.steps=8", "train.log_every=3", f"train.instruments_every={every}"]
    run = steadygan.train("digits", options, out=tmp_path / "run").path
    assert [row["step"] for row in rows(run) if any(key.startswith("sigma/") for key in row)] == steps


def test_gradients_are_those_of_each_players_last_phase(state: TrainState) -> None:
    for player in ("D", "G"):
        run_phase(state, player)
    found = instability(state.nets)
    for net, module in state.nets.items():
        for layer, weight, _ in weight_matrices(module):
            assert weight.grad is not None
            assert found[f"grad/{net}/{layer}"] == pytest.approx(float(weight.grad.norm()), rel=1e-4)
