"""Interpolation between latents and between classes: ends, path, mixing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.interpolation import interpolate, slerp
from steadygan.generators.prior import Prior
from steadygan.nets.labels import look_up
from steadygan.nets.registry import create_generator
from steadygan.pictures.pixels import to_uint8

CLASSES, LATENT = 3, 8
CONDITIONAL: dict[str, tuple[str, dict[str, Any]]] = {
    "dcgan": ("dcgan", {}),
    "resnet": ("resnet", {}),
    "sagan": ("sagan", {}),
    "biggan": ("biggan", {"skip_z": True}),
    "biggan for CIFAR": ("biggan", {"shared": False, "skip_z": False}),
    "biggan-deep": ("biggan-deep", {"size": 128, "width": 4}),
    "stylegan2": ("stylegan2", {"mapping_layers": 2}),
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str, classes: int = CLASSES) -> nn.Module:
    """A generator in evaluation mode whose classes differ in everything that they condition."""
    kind, options = CONDITIONAL[name]
    sizes = {"size": 32, "channels": 1, "classes": classes, "latent": LATENT, "width": 4}
    net = create_generator(kind, **(sizes | options), rng=rng())
    with torch.no_grad():
        for table in tables(net, classes):
            table.add_(torch.randn(table.shape, generator=rng(1)))
    return net.eval()


def tables(net: nn.Module, classes: int = CLASSES) -> list[Tensor]:
    """The parameters with a row for each class."""
    words = ("gamma", "beta", "embedding", "embedding.weight")
    return [p for name, p in net.named_parameters() if name.endswith(words) and p.ndim == 2 and len(p) == classes]


class Window(nn.Module):
    """Shows the latent itself, an eighth as large, as an image of one pixel a dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.125))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z * self.scale)[:, None, None]


def shown(images: Tensor) -> Tensor:
    """The latents (rows, steps, latent) behind what `Window` shows, to 1/16."""
    return (images[:, :, 0, 0].float() / 127.5 - 1) * 8


def test_labels_and_weights_look_up_the_same_table() -> None:
    table = torch.randn(CLASSES, 5)
    y = torch.tensor([2, 0, 1, 1])
    assert torch.equal(look_up(table, nn.functional.one_hot(y, CLASSES).float()), look_up(table, y))
    weights = torch.tensor([[0.25, 0.0, 0.75]])
    torch.testing.assert_close(look_up(table, weights)[0], 0.25 * table[0] + 0.75 * table[2])


@pytest.mark.parametrize("name", CONDITIONAL)
def test_every_family_mixes_what_the_class_conditions(name: str) -> None:
    """Half one class and half another is the class whose every table entry is the mean of theirs."""
    net = make(name)
    z = torch.randn(2, LATENT, generator=rng(2))
    halves = torch.tensor([[0.5, 0.0, 0.5]]).expand(2, -1)
    other = copy.deepcopy(net)
    with torch.no_grad():
        assert tables(other)
        for table in tables(other):
            table[1] = (table[0] + table[2]) / 2
        mixed, expected = net(z, halves), other(z, torch.tensor([1, 1]))
        ends = net(z, torch.tensor([0, 0])), net(z, torch.tensor([2, 2]))
    torch.testing.assert_close(mixed, expected, atol=2e-5, rtol=1e-4)
    assert all((mixed - end).abs().max() > 1e-3 for end in ends), "the classes differ"


@pytest.mark.parametrize("between", ["latents", "classes", "both"])
@pytest.mark.parametrize("name", ["resnet", "biggan", "stylegan2"])
def test_a_path_begins_and_ends_where_it_was_asked_to(name: str, between: str) -> None:
    net, prior = make(name), Prior(LATENT)
    paths = interpolate(net, prior, between=between, rows=2, steps=3, classes=[2, 0], total=CLASSES, seed=4)
    assert paths.shape == (2, 3, 1, 32, 32)
    start, end = prior.latents(4, rng(4)).chunk(2)
    last = {"latents": (end, [2, 0]), "classes": (start, [0, 2]), "both": (end, [0, 2])}[between]
    with torch.no_grad():
        for step, (z, y) in ((0, (start, [2, 0])), (-1, last)):
            expected = to_uint8(net(z, torch.tensor(y)))
            assert (paths[:, step].int() - expected.int()).abs().max() <= 1
    assert (paths[:, 1] != paths[:, 0]).any()
    assert (paths[:, 1] != paths[:, 2]).any()


def test_the_arc_between_orthogonal_latents_is_a_circle() -> None:
    a, b = torch.tensor([[2.0, 0.0]] * 3), torch.tensor([[0.0, 2.0]] * 3)
    t = torch.tensor([[0.0], [1 / 3], [1.0]])
    expected = torch.tensor([[2.0, 0.0], [3**0.5, 1.0], [0.0, 2.0]])
    torch.testing.assert_close(slerp(a, b, t), expected)


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0])
def test_the_arc_between_parallel_latents_is_the_line(factor: float) -> None:
    a = torch.randn(4, LATENT, generator=rng())
    t = torch.full((4, 1), 0.25)
    torch.testing.assert_close(slerp(a, factor * a, t), a * (0.75 + 0.25 * factor))


def test_half_way_between_normal_latents_is_as_far_out_as_they_are() -> None:
    """The chord's middle has half the variance, a norm that training never shows in many dimensions."""
    a, b = torch.randn(2, 500, 128, generator=rng())
    assert float(slerp(a, b, torch.full((500, 1), 0.5)).var()) == pytest.approx(1, rel=0.02)
    assert float(((a + b) / 2).var()) == pytest.approx(0.5, rel=0.02)


def test_uniform_latents_are_joined_by_a_line_within_the_cube() -> None:
    z = shown(interpolate(Window(), Prior(LATENT, "uniform"), rows=20, steps=5))
    assert float(z.abs().max()) <= 1.05
    torch.testing.assert_close(z[:, 2], (z[:, 0] + z[:, 4]) / 2, atol=0.1, rtol=0)


def test_normal_latents_are_joined_on_the_circle() -> None:
    z = shown(interpolate(Window(), Prior(LATENT), rows=20, steps=3))
    start, end = Prior(LATENT).latents(40, rng()).chunk(2)
    expected = slerp(start, end, torch.full((20, 1), 0.5))
    torch.testing.assert_close(z[:, 1], expected, atol=0.05, rtol=0)


@pytest.mark.parametrize("truncation", [None, 0.5])
def test_stylegan2_is_walked_straight_through_in_w(truncation: float | None) -> None:
    net: Any = make("stylegan2")
    net.w_avg.copy_(torch.randn(net.w_dim, generator=rng(3)))
    paths = interpolate(net, Prior(LATENT), rows=2, steps=3, total=CLASSES, seed=4, truncation=truncation)
    start, end = Prior(LATENT).latents(4, rng(4)).chunk(2)
    y = torch.tensor([0, 1])
    with torch.no_grad():
        w = (net.map(start, y) + net.map(end, y)) / 2
        expected = to_uint8(net.synthesise(w if truncation is None else net.w_avg + truncation * (w - net.w_avg)))
    assert (paths[:, 1].int() - expected.int()).abs().max() <= 1


def test_truncated_paths_begin_at_truncated_latents() -> None:
    z = shown(interpolate(Window(), Prior(LATENT), rows=50, steps=2, truncation=0.3))
    assert float(z.abs().max()) <= 0.35


def test_the_batch_size_changes_no_path() -> None:
    options: dict[str, Any] = {"between": "both", "rows": 3, "steps": 4, "total": CLASSES}
    whole = interpolate(make("resnet"), Prior(LATENT), **options)
    parts = interpolate(make("resnet"), Prior(LATENT), batch_size=5, **options)
    assert (whole.int() - parts.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "at least one path"),
        ({"steps": 1}, "one path of two images"),
        ({"between": "pixels"}, "between must be latents, classes, both, not 'pixels'"),
        ({"between": "classes", "total": 0}, "no two classes"),
        ({"between": "classes", "classes": 1}, "name at least two"),
        ({"between": "both", "classes": [1, 2, 2]}, "name at least two"),
        ({"classes": [3]}, "class 3 is out of range"),
        ({"classes": [1], "total": 0}, "unconditional"),
    ],
)
def test_paths_that_do_not_exist_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        interpolate(Window(), Prior(LATENT), **({"total": CLASSES} | options))
