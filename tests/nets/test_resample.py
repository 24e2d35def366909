"""Folded resampling equals the plain form in value and both derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.nets.batch_norm import set_batch_groups
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.resample import DownConv2d, ResamplingConv2d, UpConv2d, set_folding, spread
from steadygan.nets.spectral_norm import Spectral


def reference(layer: ResamplingConv2d, x: Tensor) -> Tensor:
    weight = layer.normalised_weight()
    if isinstance(layer, UpConv2d):
        return F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, layer.bias, padding=1)
    h = F.conv2d(x, weight, layer.bias, padding=1)
    return (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4


def derivatives(y: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    """First derivatives by input and weight, and those of the squared input gradient (a penalty's)."""
    torch.manual_seed(1)
    total = (y * torch.randn_like(y)).sum() + y.pow(3).sum()
    by_x, by_weight = torch.autograd.grad(total, (x, weight), create_graph=True)
    return [by_x, by_weight, *torch.autograd.grad(by_x.square().sum(), (x, weight))]


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("kind", [UpConv2d, DownConv2d])
def test_folded_equals_plain_and_both_equal_the_definition(kind: type[ResamplingConv2d], spectral_norm: bool) -> None:
    layer = kind(3, 5, spectral=Spectral(spectral_norm)).double()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    outcomes = []
    for forward in (lambda: reference(layer, x), lambda: plain(layer, x), lambda: layer(x)):
        y = forward()
        outcomes.append([y, *derivatives(y, x, layer.weight)])
    assert layer.fold
    for ours in outcomes[1:]:
        torch.testing.assert_close(ours, outcomes[0], rtol=1e-12, atol=1e-12)


def plain(layer: ResamplingConv2d, x: Tensor) -> Tensor:
    layer.fold = False
    y = layer(x)
    layer.fold = True
    return y


def test_derivatives_by_finite_differences() -> None:
    for kind in (UpConv2d, DownConv2d):
        layer = kind(2, 2).double()
        x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(layer, (x,))
        assert torch.autograd.gradgradcheck(layer, (x,))


def test_spread_is_the_mean_of_the_four_corner_copies() -> None:
    kernel = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    expected = sum(F.pad(kernel, (i, 1 - i, j, 1 - j)) for i in (0, 1) for j in (0, 1)) / 4
    torch.testing.assert_close(spread(kernel), expected)


@pytest.mark.parametrize(
    ("kind", "size", "folds"),
    [
        ("resnet", 32, (3, 2)),
        ("biggan", 32, (3, 2)),
        ("biggan-deep", 32, (3, 0)),
        ("sagan", 64, (4, 4)),
        ("unet", 32, (3, 6)),
    ],
)
def test_networks_fold_and_agree(kind: str, size: int, folds: tuple[int, int]) -> None:
    """Folded and plain networks have the same output and gradients; and the same parameters."""
    sizes = {"size": size, "channels": 3, "classes": 0, "width": 4}
    nets: list[nn.Module] = [create_generator(kind, latent=16, **sizes), create_critic(kind, **sizes)]
    inputs = [torch.randn(2, 16, dtype=torch.float64), torch.randn(2, 3, size, size, dtype=torch.float64)]
    for net, x, count in zip(nets, inputs, folds, strict=True):
        net.double()
        set_batch_groups(net, 1)
        layers = [layer for layer in net.modules() if isinstance(layer, ResamplingConv2d)]
        assert len(layers) == count
        assert all(layer.weight.shape[2:] == (3, 3) for layer in layers)
        outcomes = []
        for fold in (True, False):
            set_folding(net, fold)
            out = net(x)
            total = (out if isinstance(out, Tensor) else out.logit).sin().sum()
            outcomes.append([total, *torch.autograd.grad(total, list(net.parameters()), allow_unused=True)])
        for ours, theirs in zip(*outcomes, strict=True):
            if ours is None:
                assert theirs is None
            else:
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", [UpConv2d, DownConv2d])
@pytest.mark.parametrize("fold", [True, False])
def test_images_take_the_memory_format_of_the_kernels(kind: type[UpConv2d] | type[DownConv2d], fold: bool) -> None:
    layer = kind(4, 8).to(memory_format=torch.channels_last)
    set_folding(layer, fold)
    out = layer(torch.randn(2, 4, 6, 6))
    assert out.is_contiguous(memory_format=torch.channels_last)
