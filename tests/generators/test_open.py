"""A generator as a function of tensors, moved between devices, and called by several threads at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from helpers import tiny_run
from torch import Tensor, nn

import steadygan
from steadygan.errors import UserError
from steadygan.generators.generator import Generator
from steadygan.pictures.pixels import to_uint8

GOLDEN = Path(__file__).parents[1] / "golden" / "version-0.1.0" / "synthesis"
"""Conditional digits of a generator with batch norms."""


@pytest.fixture
def generator() -> Generator:
    return steadygan.load(GOLDEN, device="cpu")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """An unconditional generator with an intermediate latent."""
    path = tmp_path_factory.mktemp("runs") / "mapped"
    options = tiny_run("train.steps=1", "model.kind=stylegan2", "model.conditional=false", "eval.num_fake=20")
    steadygan.train("digits", options, out=path)
    return steadygan.load(path, device="cpu")


def test_it_says_what_it_is(generator: Generator, mapped: Generator) -> None:
    assert repr(generator) == "Generator(dcgan, 1×32×32, 10 classes, step 8 of synthesis, on cpu)"
    assert repr(mapped) == "Generator(stylegan2, 1×16×16, no classes, step 1 of mapped, on cpu)"


def test_a_seeds_latent_makes_the_seeds_image(generator: Generator) -> None:
    z, y = generator.latents([3, 8]), torch.tensor([1, 5])
    assert z.shape == (2, generator.latent)
    images = generator(z, y)
    assert images.dtype == torch.float32
    assert torch.equal(to_uint8(images), generator.from_seeds([3, 8], classes=[1, 5]))
    with torch.no_grad():
        narrow = generator(generator.latents([3], truncation=0.3), y[:1], truncation=0.3)
    assert torch.equal(to_uint8(narrow), generator.sample(1, classes=1, seed=3, truncation=0.3))


def test_gradients_reach_latents_and_weights_of_classes_but_no_parameter(generator: Generator) -> None:
    z = generator.latents([0, 1]).requires_grad_()
    y = torch.full((2, 10), 0.1, requires_grad=True)
    generator(z, y).square().sum().backward()
    assert z.grad is not None
    assert y.grad is not None
    assert z.grad.abs().sum() > 0
    assert y.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in generator.module.parameters())


def test_an_image_is_found_again_by_gradient_descent(mapped: Generator) -> None:
    """Inversion through the graph: the latent of a given image."""
    with torch.no_grad():
        target = mapped(mapped.latents([4]))
    z = mapped.latents([5]).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (mapped(z) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("truncation", [None, 0.6])
def test_through_w_is_the_same_as_straight(mapped: Generator, truncation: float | None) -> None:
    z = mapped.latents([0, 1, 2], truncation=truncation)
    assert torch.equal(z, mapped.latents([0, 1, 2])), "this one truncates w"
    w = mapped.map(z, truncation=truncation).detach().requires_grad_()
    images = mapped.synthesise(w)
    assert torch.equal(images, mapped(z, truncation=truncation))
    images.sum().backward()
    assert w.grad is not None
    assert w.grad.abs().sum() > 0


def test_styles_of_two_images_are_mixed_layer_by_layer(mapped: Generator) -> None:
    """As in the FAQ: mixing an image with itself gives that image; mixing two gives neither."""
    w = mapped.map(mapped.latents([3, 7]))
    one, other = mapped.synthesise(w)
    same, mixed = mapped.synthesise(torch.stack([w[0], torch.cat([w[0, :2], w[1, 2:]])]))
    assert torch.allclose(same, one, atol=1e-6)
    assert (mixed - one).abs().max() > 1e-3
    assert (mixed - other).abs().max() > 1e-3


def test_what_has_no_w_says_so(generator: Generator) -> None:
    with pytest.raises(UserError, match="dcgan has no intermediate latent w"):
        generator.synthesise(torch.zeros(1, 2, 8))
    with pytest.raises(UserError, match="no intermediate latent"):
        generator.map(torch.zeros(1, 8), torch.tensor([0]))


@pytest.mark.parametrize(
    ("z", "y", "message"),
    [
        (torch.zeros(2, 7), torch.tensor([0, 1]), r"z must be \(N, 8\), not \(2, 7\)"),
        (torch.zeros(8), torch.tensor([0]), r"z must be \(N, 8\)"),
        (torch.zeros(2, 8), None, r"y must be \(N,\) or \(N, 10\), not None"),
        (torch.zeros(2, 8), torch.tensor([0]), r"y must be \(2,\) or \(2, 10\), not \(1,\)"),
        (torch.zeros(2, 8), torch.zeros(2, 9), r"not \(2, 9\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(generator: Generator, z: Tensor, y: Tensor | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        generator(z, y)


def test_labels_for_an_unconditional_generator_are_refused(mapped: Generator) -> None:
    with pytest.raises(UserError, match="y must be None, as it is unconditional"):
        mapped(mapped.latents([0]), torch.tensor([0]))


def test_the_network_is_there_to_be_used(generator: Generator) -> None:
    assert isinstance(generator.module, nn.Module)
    assert not generator.module.training
    expected = generator.from_seeds([7], classes=2)
    assert torch.equal(to_uint8(generator.module(generator.latents([7]), torch.tensor([2]))), expected)


def test_it_moves_with_all_it_remembers(generator: Generator) -> None:
    """To a device without numbers and back: nothing may be left behind. The weights are read again."""
    expected = generator.sample(4, truncation=0.5)
    weights = generator.module.state_dict()
    generator.module.to_empty(device="meta")
    assert generator.device.type == "meta"
    generator.module.to_empty(device="cpu")
    generator.module.load_state_dict(weights)
    assert generator.to("cpu") is generator
    assert generator.device == torch.device("cpu")
    assert torch.equal(generator.sample(4, truncation=0.5), expected)
    with pytest.raises(UserError, match="no usable NVIDIA GPU"):
        generator.to("cuda:99")


def test_threads_that_sample_at_the_same_time_get_what_each_gets_alone(generator: Generator) -> None:
    """With different truncations, whose batch norms differ, through every method that makes images."""
    asks = [
        lambda: generator.sample(6, seed=1),
        lambda: generator.sample(6, seed=1, truncation=0.3),
        lambda: generator.sample(6, seed=1, truncation=0.7),
        lambda: generator.from_seeds([4, 5], truncation=0.3),
        lambda: generator.walk([4, 5], 3),
        lambda: generator.interpolate(1, 4, between="both", classes=[1, 2], truncation=0.7),
        lambda: generator(generator.latents([1, 2]), torch.tensor([0, 1])).detach(),
    ]
    alone = [ask() for ask in asks]
    fresh = steadygan.load(GOLDEN, device="cpu")
    vars(generator).update(vars(fresh))  # statistics are gathered anew, by all threads at once
    meet = threading.Barrier(len(asks))
    wrong: list[int] = []

    def work(index: int) -> None:
        meet.wait()
        for turn in range(4):
            at = (index + turn) % len(asks)
            if not torch.equal(asks[at](), alone[at]):
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not torch.equal(alone[1], alone[2])


def test_statistics_are_kept_for_so_many_truncations_alone(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadygan.generators.truncations.KEPT", 2)
    first = generator.sample(2, truncation=0.5)
    for truncation in (1.0, 2.0):
        generator.sample(1, truncation=truncation)
    assert [cut.threshold for cut in generator.network.kept()] == [1.0, 2.0]
    assert torch.equal(generator.sample(2, truncation=0.5), first)
    shared = {id(parameter) for parameter in generator.module.parameters()}
    for network in generator.network.kept().values():
        assert {id(parameter) for parameter in network.parameters()} == shared
