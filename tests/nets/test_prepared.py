"""Kernels prepared once per phase: the same outputs and the same gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.nets.layers import Conv2d
from steadygan.nets.prepared import prepared
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.resample import UpConv2d
from steadygan.nets.spectral_norm import Spectral, SpectralNorm, advance_spectral_norm

pytestmark = pytest.mark.usefixtures("float64")

SIZES: dict[str, Any] = {"size": 32, "channels": 3, "classes": 3, "width": 2}


def gradients(net: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def critic(kind: str) -> nn.Module:
    torch.manual_seed(0)
    net = create_critic(kind, **SIZES)
    for parameter in net.parameters():  # where the layers' u and v are no longer exact
        parameter.data += 0.05 * torch.randn_like(parameter)
    return net


@pytest.mark.parametrize("kind", ["dcgan", "resnet", "biggan", "biggan-deep", "unet", "stylegan2"])
def test_two_passes_and_a_penalty_have_the_gradients_of_unprepared_layers(kind: str) -> None:
    """The penalty differentiates D twice; two backward passes stand for two micro-batches."""
    plain = critic(kind)
    once = copy.deepcopy(plain)
    x, y = torch.randn(4, 3, 32, 32), torch.randint(3, (4,))

    def passes(net: nn.Module) -> None:
        for part in (x, 2 * x):
            leaf = part.clone().requires_grad_()
            (slope,) = torch.autograd.grad(net(leaf, y).logit.sum(), leaf, create_graph=True)
            (slope.square().sum() + net(part, y).logit.square().sum()).backward()

    passes(plain)
    with prepared([once]):
        passes(once)
    torch.testing.assert_close(gradients(once), gradients(plain), rtol=1e-9, atol=1e-9)
    assert all(layer.prepared is None for layer in once.modules() if isinstance(layer, SpectralNorm))


def test_a_generator_is_the_same_function() -> None:
    net = create_generator("biggan", latent=8, sn_generator=True, **SIZES)
    z, y = torch.randn(4, 8), torch.randint(3, (4,))
    expected = net(z, y)
    with prepared([net]):
        torch.testing.assert_close(net(z, y), expected)


def test_a_trained_layer_is_made_once_a_phase_and_a_frozen_one_until_it_changes() -> None:
    net = nn.Sequential(Conv2d(3, 4, 3, padding=1, spectral=Spectral()), UpConv2d(4, 4))
    made: list[str] = []
    for name, layer in net.named_children():
        shaped = layer.shaped
        layer.shaped = lambda weight, name=name, shaped=shaped: (made.append(name), shaped(weight))[1]
    x = torch.randn(2, 3, 8, 8)

    def phase() -> list[str]:
        made.clear()
        with prepared([net]):
            net(x)
            net(x)
        return sorted(made)

    assert phase() == ["0", "1"]
    assert phase() == ["0", "1"]
    net.requires_grad_(False)
    assert phase() == ["0", "1"]
    assert phase() == []
    advance_spectral_norm(net)
    assert phase() == ["0"]
    net.load_state_dict({key: 2 * value for key, value in net.state_dict().items()})
    assert phase() == ["0", "1"]
    with prepared([net]):
        inside = net(x)
    torch.testing.assert_close(inside, net(x))


def test_a_layer_that_took_no_part_has_no_gradient() -> None:
    """Zeros instead would move Adam's moments."""
    used, unused = (Conv2d(2, 2, 3, spectral=Spectral()) for _ in range(2))
    with prepared([used, unused]):
        used(torch.randn(1, 2, 5, 5)).sum().backward()
    assert used.weight.grad is not None
    assert unused.weight.grad is None


def test_a_phase_that_fails_leaves_no_prepared_kernel() -> None:
    layer = UpConv2d(2, 2, spectral=Spectral())
    with pytest.raises(RuntimeError, match="broken"), prepared([layer]):
        raise RuntimeError("broken")
    assert layer.prepared is None
    assert layer.kept is None
