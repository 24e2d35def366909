"""The gain of spectrally normalised convolutions: its factor, and its effect in a deep discriminator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.layers import Conv2d, Linear, set_sn_gain
from steadygan.nets.prepared import prepared
from steadygan.nets.registry import create_critic
from steadygan.nets.spectral_norm import Spectral, advance_spectral_norm

SIZES = {"size": 32, "channels": 3, "classes": 0, "width": 8}
SMOOTH = nn.functional.interpolate(
    torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0)), 32, mode="bilinear"
).clamp(-1, 1)


def critic(kind: str = "dcgan", **options: object) -> nn.Module:
    return create_critic(kind, **SIZES, **options, rng=torch.Generator().manual_seed(0))


def largest(layer: Conv2d) -> float:
    return float(torch.linalg.matrix_norm(layer.kernel().detach().flatten(1), 2))


def test_the_largest_singular_value_of_a_convolution_is_its_gain() -> None:
    layer = Conv2d(4, 6, 3, spectral=Spectral())
    advance_spectral_norm(layer, 200)
    assert largest(layer) == pytest.approx(1, rel=1e-4)
    set_sn_gain(layer, 2.5)
    assert largest(layer) == pytest.approx(2.5, rel=1e-4)


def test_what_is_not_a_normalised_convolution_keeps_its_weight() -> None:
    net = nn.Sequential(Conv2d(3, 3, 3), Linear(3, 1, spectral=Spectral()))
    before = [layer.kernel().detach().clone() for layer in net]
    set_sn_gain(net, 3)
    assert all(torch.equal(layer.kernel(), kernel) for layer, kernel in zip(net, before, strict=True))


def grads(net: nn.Module, x: Tensor, *, together: bool) -> list[Tensor]:
    net.zero_grad()
    if together:
        with prepared([net]):
            net(x).logit.square().sum().backward()
    else:
        net(x).logit.square().sum().backward()
    return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
def test_kernels_made_once_for_a_phase_have_the_gain_and_its_gradient(kind: str) -> None:
    net = critic(kind, sn_gain=1.7)
    for one, other in zip(grads(net, SMOOTH, together=True), grads(net, SMOOTH, together=False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
def test_a_gain_of_one_is_plain_spectral_norm_to_the_bit(kind: str) -> None:
    plain, one = critic(kind), critic(kind, sn_gain=1)
    assert torch.equal(plain(SMOOTH).logit, one(SMOOTH).logit)


def test_a_plain_critic_attenuates_its_image_and_a_gain_of_two_does_not() -> None:
    """Seven layers that each halve the signal leave a hundredth of the difference between images."""

    @torch.no_grad()
    def passed_on(net: nn.Module) -> float:
        features = net(SMOOTH).features
        return float((features - features.mean(0)).square().mean().sqrt() / SMOOTH.std())

    assert passed_on(critic()) < 0.02
    assert 0.2 < passed_on(critic(sn_gain=2)) < 2


def test_a_gain_that_is_not_positive_is_refused() -> None:
    with pytest.raises(UserError, match="sn_gain must be positive, got 0"):
        critic(sn_gain=0)
