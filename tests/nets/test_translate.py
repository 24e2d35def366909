"""The networks of translation, and how images of any size go through them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.translation import translate, translate_tiled
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.registry import count_parameters, create_critic, create_generator
from steadygan.nets.translate import InstanceNorm2d, ReflectConv2d


def generator(size: int = 32, **options: Any) -> nn.Module:
    return create_generator(
        "translate", size=size, channels=3, classes=0, latent=0, **({"width": 4, "blocks": 1} | options)
    )


def critic(size: int = 32, width: int = 4, **options: Any) -> nn.Module:
    return create_critic("translate", size=size, channels=3, classes=0, width=width, **options)


@pytest.mark.parametrize(("size", "millions"), [(256, 11.378), (128, 7.838)])
def test_the_generator_has_the_published_size_with_nine_blocks_and_six(size: int, millions: float) -> None:
    with torch.device("meta"):
        net = generator(size, width=64, blocks=None)
    assert count_parameters(net) / 1e6 == pytest.approx(millions, abs=0.001)


def test_the_critic_has_the_published_size_and_sees_patches_of_70_pixels() -> None:
    with torch.device("meta"):
        assert count_parameters(critic(256, width=64)) / 1e6 == pytest.approx(2.765, abs=0.001)
    net = critic(140, norm="none")
    x = torch.randn(1, 3, 140, 140, requires_grad=True)
    net(x).logit[0, 0, 8, 8].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_the_critic_returns_one_logit_for_each_patch() -> None:
    assert critic(64)(torch.zeros(2, 3, 64, 64)).logit.shape == (2, 1, 6, 6)
    assert critic(64, images=2)(torch.zeros(2, 6, 64, 64)).logit.shape == (2, 1, 6, 6)
    assert critic(64, layers=2)(torch.zeros(2, 3, 64, 64)).logit.shape == (2, 1, 14, 14)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (8, 9), (62, 20)])
def test_images_keep_their_size_whatever_it_is(height: int, width: int) -> None:
    out = generator()(torch.randn(2, 3, height, width))
    assert out.shape == (2, 3, height, width)
    assert out.abs().max() <= 1


@pytest.mark.parametrize("winograd", [False, True])
@pytest.mark.parametrize(("height", "width"), [(32, 24), (33, 40), (34, 36), (2, 2), (3, 5)])
def test_convolutions_with_reflection_are_torch_s(height: int, width: int, winograd: bool) -> None:
    layer, torch_s = ReflectConv2d(64, 64).double(), nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect").double()
    torch_s.load_state_dict(layer.state_dict())
    layer.winograd = winograd
    found = []
    for net in (layer, torch_s):
        x = torch.randn(2, 64, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        y = net(x.requires_grad_())
        found.append([y, *torch.autograd.grad(y.square().sum(), [x, *net.parameters()])])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(layer(x, rectify=True), torch_s(x.relu()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_normalisation_is_a_setting_of_both_networks(norm: str) -> None:
    for net in (generator(norm=norm), critic(norm=norm)):
        assert has_batch_statistics(net) == (norm == "batch")
        assert any(isinstance(layer, nn.InstanceNorm2d) for layer in net.modules()) == (norm == "instance")


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("count", [1, 2])
def test_instance_norm_is_torch_s(count: int, memory: torch.memory_format) -> None:
    x = torch.randn(count, 5, 6, 7, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    found = []
    for norm in (InstanceNorm2d(5), nn.InstanceNorm2d(5)):
        y = norm(x)
        (slope,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        found.append([y, slope, *torch.autograd.grad(slope.square().sum(), x)])
    torch.testing.assert_close(*found)


def test_with_instance_norm_an_image_does_not_depend_on_its_batch() -> None:
    x = torch.randn(3, 3, 32, 32)
    for net in (generator(), lambda x: critic_net(x).logit):
        torch.testing.assert_close(net(x)[:1], net(x[:1]), atol=1e-5, rtol=1e-4)


critic_net = critic()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: critic(16), "at least 24 pixels"),
        (lambda: generator(4), "at least 8"),
        (lambda: generator(norm="layer"), "'instance', 'batch' or 'none'"),
        (lambda: critic(norm="layer"), "'instance', 'batch', 'none' or 'spectral'"),
        (lambda: generator(blocks=-1), "blocks"),
        (lambda: critic(layers=0), "layers"),
        (lambda: create_generator("translate", size=32, channels=3, classes=2, latent=0, width=4), "conditional"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_the_reason(make: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make()


class Pointwise(nn.Module):
    """Works pixel by pixel, so tiles equal the whole; records its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(-0.5))
        self.seen: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.shape[-2], x.shape[-1]))
        return self.factor * x


@pytest.mark.parametrize(("height", "width"), [(50, 90), (32, 100), (20, 33), (97, 97)])
@pytest.mark.parametrize("overlap", [0, 8, 20])
def test_tiles_add_up_to_the_whole_and_never_are_larger_than_asked(height: int, width: int, overlap: int) -> None:
    net, image = Pointwise(), torch.randint(256, (3, height, width), dtype=torch.uint8)
    whole = translate(net, image[None])[0]
    net.seen.clear()
    tiled = translate_tiled(net, image, tile=32, overlap=overlap)
    assert torch.equal(tiled, whole)
    assert max(max(side) for side in net.seen) <= 32


def test_where_tiles_overlap_one_fades_into_the_next() -> None:
    class Count(nn.Module):
        """The first tile black, the second white."""

        def __init__(self) -> None:
            super().__init__()
            self.zero, self.calls = nn.Parameter(torch.zeros(())), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return torch.full_like(x, -1.0 if self.calls == 1 else 1.0)

    row = translate_tiled(Count(), torch.zeros(1, 32, 48, dtype=torch.uint8), tile=32, overlap=16)[0, 0].int()
    assert (row[:16] == 0).all()
    assert (row[32:] == 255).all()
    steps = row.diff()
    assert (steps >= 0).all()
    assert steps.max() <= 20


def test_an_image_too_small_for_the_network_is_refused_with_its_size() -> None:
    with pytest.raises(UserError, match="7×20"):
        translate(Pointwise(), torch.zeros(1, 3, 20, 7, dtype=torch.uint8))


@pytest.mark.parametrize(("tile", "overlap"), [(30, 4), (32, 32), (4, 0), (32, -1)])
def test_tiles_that_cannot_work_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UserError, match=f"tile of {tile}"):
        translate_tiled(Pointwise(), torch.zeros(3, 64, 64, dtype=torch.uint8), tile=tile, overlap=overlap)
