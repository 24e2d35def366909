"""Latents, labels, images and standing statistics: against distributions and averages known from elsewhere."""

from __future__ import annotations

import copy

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.generators.sampling import choose_labels, drawn_on, sample, standing_statistics
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.registry import create_generator

MANY = 20_000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_generator(classes: int = 0, **options: bool) -> nn.Module:
    sizes = {"size": 32, "channels": 1, "classes": classes, "latent": 4, "width": 2}
    return create_generator("resnet", **sizes, rng=rng(), **options)


class Window(nn.Module):
    """Shows the latent itself, and the label, as an image of 1×1 with two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.25))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        label = torch.zeros(len(z)) if y is None else y / 127.5 - 1
        return torch.stack([z[:, 0] * self.scale, label], 1)[:, :, None, None]


def test_latents_are_standard_normal() -> None:
    z = Prior(2).latents(MANY // 2, rng())
    assert z.shape == (MANY // 2, 2)
    assert z.dtype == torch.float32
    assert scipy.stats.kstest(z.flatten().numpy(), "norm").pvalue > 0.05


@pytest.mark.parametrize("truncation", [0.04, 0.5, 1.0, 2.0])
def test_truncated_latents_are_truncated_normal(truncation: float) -> None:
    z = Prior(2).latents(MANY // 2, rng(), truncation=truncation, dtype=torch.float64).flatten()
    expected = scipy.stats.truncnorm(-truncation, truncation)
    assert float(z.abs().max()) <= truncation
    assert float(z.abs().max()) > 0.99 * truncation
    assert float(z.mean()) == pytest.approx(0, abs=4 * expected.std() / MANY**0.5)
    assert float(z.std()) == pytest.approx(expected.std(), rel=0.02)
    assert float(z.pow(4).mean()) == pytest.approx(expected.moment(4), rel=0.05)
    assert scipy.stats.kstest(z.numpy(), expected.cdf).pvalue > 0.05


def test_a_law_by_name_is_that_of_the_paper_or_that_of_the_released_generators() -> None:
    """For either prior; their deviations at ½ are those of the two laws, 0.28 and 0.44."""
    for kind in ("normal", "truncated"):
        for name, law, deviation in (
            ("redrawn:0.5", scipy.stats.truncnorm(-0.5, 0.5), 0.28),
            ("scaled:0.5", scipy.stats.truncnorm(-2, 2, scale=0.5), 0.44),
        ):
            z = Prior(2, kind).latents(MANY // 2, rng(), truncation=name, dtype=torch.float64).flatten()
            assert scipy.stats.kstest(z.numpy(), law.cdf).pvalue > 1e-3
            assert float(z.std()) == pytest.approx(deviation, abs=0.01)


def test_without_a_name_the_normal_prior_redraws_and_the_released_one_scales() -> None:
    for kind, name in (("normal", "redrawn:0.7"), ("truncated", "scaled:0.7")):
        prior = Prior(3, kind)
        assert torch.equal(prior.latents(5, rng(), truncation=0.7), prior.latents(5, rng(), truncation=name))
    wide = Prior(2, "truncated").latents(MANY, rng(), truncation="redrawn:3")
    assert float(wide.abs().max()) <= 2


@pytest.mark.parametrize("given", ["cut:0.5", "0,5", "scaled:", "scaled:-1", "redrawn:inf", "nan", ":0.5:"])
def test_what_is_no_truncation_shows_the_spellings(given: str) -> None:
    with pytest.raises(UserError, match=f"such as 0.5, redrawn:0.5 or scaled:0.5; got {given}"):
        Prior(1).latents(1, rng(), truncation=given)


@pytest.mark.parametrize(("truncation", "bound"), [(None, 1.0), (0.3, 0.3), (5.0, 1.0)])
def test_uniform_latents_fill_their_range(truncation: float | None, bound: float) -> None:
    z = Prior(1, "uniform").latents(MANY, rng(), truncation=truncation).flatten().numpy()
    assert abs(z).max() <= bound
    assert scipy.stats.kstest(z, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.05


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("truncation", [0.0, -1.0])
def test_a_truncation_that_leaves_nothing_is_refused(kind: str, truncation: float) -> None:
    with pytest.raises(UserError, match="truncation must be positive"):
        Prior(1, kind).latents(1, rng(), truncation=truncation)


def test_the_generator_alone_decides_what_is_drawn() -> None:
    prior = Prior(3, label_pool=torch.arange(9))
    torch.manual_seed(1)
    first = (prior.latents(4, rng()), prior.latents(4, rng(), truncation=0.5), prior.labels(50, rng()))
    torch.manual_seed(2)
    second = (prior.latents(4, rng()), prior.latents(4, rng(), truncation=0.5), prior.labels(50, rng()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], prior.latents(4, rng(1)))


def test_labels_have_the_frequencies_of_the_pool() -> None:
    y = Prior(1, label_pool=torch.tensor([7, 7, 7, 2])).labels(MANY, rng())
    assert y.dtype == torch.int64
    assert sorted(set(y.tolist())) == [2, 7]
    assert float((y == 7).float().mean()) == pytest.approx(0.75, abs=0.01)
    assert Prior(1).labels(5, rng()) is None


@pytest.mark.parametrize(
    ("classes", "expected"), [(None, [0, 1, 2, 0, 1]), (2, [2] * 5), ([2, 0], [2, 0, 2, 0, 2]), ((1,), [1] * 5)]
)
def test_labels_are_taken_in_turn(classes: int | list[int] | None, expected: list[int]) -> None:
    assert choose_labels(5, classes, 3).tolist() == expected


def test_labels_a_network_does_not_have_are_refused() -> None:
    assert choose_labels(5, None, 0) is None
    with pytest.raises(UserError, match="unconditional"):
        choose_labels(5, 1, 0)
    with pytest.raises(UserError, match=r"class 3 is out of range: .* classes 0 to 2"):
        choose_labels(5, [0, 3], 3)
    with pytest.raises(UserError, match="class -1 is out of range"):
        choose_labels(5, -1, 3)
    with pytest.raises(UserError, match="empty"):
        choose_labels(5, [], 3)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_what_is_sampled_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    labels = torch.arange(10)
    images = sample(Window(), Prior(4), 10, labels=labels, seed=5, batch_size=batch_size)
    z = torch.randn(10, 4, generator=rng(5))[:, 0]
    assert images.dtype == torch.uint8
    assert images[:, 0, 0, 0].tolist() == (z * 0.25 * 127.5 + 127.5).round().clamp(0, 255).int().tolist()
    assert images[:, 1, 0, 0].tolist() == labels.tolist()


def test_sampling_is_truncated_and_seeded() -> None:
    net, prior = Window(), Prior(1)
    narrow = sample(net, prior, 200, truncation=0.1)
    assert int((narrow[:, 0].int() - 127).abs().max()) <= 0.1 * 0.25 * 127.5 + 1
    assert torch.equal(sample(net, prior, 5, seed=1), sample(net, prior, 5, seed=1))
    assert not torch.equal(sample(net, prior, 5, seed=1), sample(net, prior, 5, seed=2))
    with pytest.raises(UserError, match="at least one"):
        sample(net, prior, 0)


def test_sampling_changes_nothing_in_the_network() -> None:
    net = make_generator(sn_generator=True).eval()
    before = copy.deepcopy(net.state_dict())
    images = sample(net, Prior(4), 5, batch_size=2)
    assert images.shape == (5, 1, 32, 32)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not images.requires_grad


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("truncation", [None, 0.5])
def test_standing_statistics_are_the_mean_of_the_batches_statistics(classes: int, truncation: float | None) -> None:
    net = make_generator(classes)
    reference = copy.deepcopy(net).train()
    prior = Prior(4, label_pool=torch.arange(classes) if classes else None)
    for layer in net.modules():
        if isinstance(layer, BatchNorm2d):
            layer.running_mean.fill_(9)
            layer.running_var.fill_(9)
            layer.num_batches_tracked.fill_(9)
    standing_statistics(net, prior, batches=3, batch_size=5, truncation=truncation, seed=4)

    inputs: dict[str, list[Tensor]] = {}
    for name, layer in reference.named_modules():
        if isinstance(layer, BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, args, name=name: inputs.setdefault(name, []).append(args[0]))
    generator = rng(4)
    for _ in range(3):
        z = prior.latents(5, generator, truncation=truncation)
        reference(z, prior.labels(5, generator))
    assert len(inputs) == 7
    for name, batches in inputs.items():
        layer = net.get_submodule(name)
        means = torch.stack([batch.mean((0, 2, 3)) for batch in batches])
        variances = torch.stack([batch.var((0, 2, 3), correction=1) for batch in batches])
        torch.testing.assert_close(layer.running_mean, means.mean(0).detach())
        torch.testing.assert_close(layer.running_var, variances.mean(0).detach())


def test_standing_statistics_leave_everything_else_as_it_was() -> None:
    net = make_generator(sn_generator=True).train()
    momenta = [0.1 + 0.01 * i for i in range(7)]
    layers = [layer for layer in net.modules() if isinstance(layer, BatchNorm2d)]
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    before = copy.deepcopy(net.state_dict())
    standing_statistics(net, Prior(4), batches=2, batch_size=4)
    assert [layer.momentum for layer in layers] == momenta
    assert not any(module.training for module in net.modules())
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    again = copy.deepcopy(net.state_dict())
    standing_statistics(net, Prior(4), batches=2, batch_size=4)
    assert all(torch.equal(value, again[name]) for name, value in net.state_dict().items())


def test_standing_statistics_ask_nothing_of_a_network_without_batch_norm() -> None:
    net = Window().train()
    standing_statistics(net, Prior(4))
    assert not net.training


def test_only_apples_gpus_have_their_random_numbers_drawn_elsewhere() -> None:
    assert [drawn_on(torch.device(name)).type for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]
