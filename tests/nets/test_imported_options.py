"""Options that networks have for the sake of other programs' weights, and that are off by default."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets import create_critic, create_generator
from steadygan.nets.modulated import ModulatedConv2d


def generator(kind: str, size: int = 32, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"size": size, "channels": 3, "latent": 8, "width": 2}
    return create_generator(kind, **sizes, **{"classes": 3, **options})


def critic(kind: str, size: int = 32, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_critic(kind, size=size, channels=3, width=2, **{"classes": 0, **options})


@torch.no_grad()
def test_conv_clamp_bounds_what_convolutions_give() -> None:
    x, z, y = torch.randn(2, 3, 16, 16), torch.randn(2, 8), torch.tensor([0, 1])
    free, loose = (generator("stylegan2", 16, conv_clamp=bound).eval() for bound in (None, 1e6))
    assert torch.equal(free(z, y), loose(z, y))
    tight = generator("stylegan2", 16, conv_clamp=0.01).eval()
    seen: list[float] = []
    for layer in (tight.first, *tight.ups, *tight.layers):
        layer.register_forward_hook(lambda module, inputs, out: seen.append(float(out.abs().max())))
    tight(z, y)
    assert seen == pytest.approx([0.01] * len(seen))
    free_d, loose_d, tight_d = (critic("stylegan2", 16, conv_clamp=bound) for bound in (None, 1e6, 0.01))
    assert torch.equal(free_d(x).logit, loose_d(x).logit)
    block = tight_d.blocks[0]
    assert float(block.conv1(torch.randn(2, 16, 16, 16)).abs().max()) == pytest.approx(0.01)
    # Before the gain of 1/√2 of a residual sum.
    assert float(block.conv2(torch.randn(2, 16, 16, 16)).abs().max()) == pytest.approx(0.01 * 0.5**0.5)
    with pytest.raises(UserError, match="conv_clamp"):
        critic("stylegan2", 16, conv_clamp=0.0)


@pytest.mark.usefixtures("float64")
def test_epsilon_of_demodulation_may_be_added_before_weights_are_scaled() -> None:
    torch.manual_seed(0)
    layer = ModulatedConv2d(4, 3, 3, 5, raw_eps=True)
    x, w = torch.randn(2, 4, 6, 6), torch.randn(2, 5) * 1e-5
    layer.affine.bias.data.zero_()  # styles so small that ε counts
    kernel = layer.weight * layer.affine(w)[:, None, :, None, None]
    kernel = kernel * (kernel.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    by_definition = torch.stack([F.conv2d(image, k, padding=1) for image, k in zip(x, kernel, strict=True)])
    assert torch.allclose(layer(x, w), by_definition)
    layer.eps = ModulatedConv2d(4, 3, 3, 5).eps
    assert not torch.allclose(layer(x, w), by_definition)


@pytest.mark.parametrize("kind", ["biggan", "biggan-deep"])
def test_the_class_embedding_has_the_dimension_it_is_given(kind: str) -> None:
    assert generator(kind, class_embedding=5).embedding.weight.shape == (3, 5)
    assert generator(kind).embedding.weight.shape == (3, 128)
    with pytest.raises(UserError, match="class_embedding"):
        generator(kind, class_embedding=0)


def test_narrow_is_the_sngans_table_at_64_pixels() -> None:
    def maps(net: nn.Module) -> list[int]:
        return [block.conv1.weight.shape[0] for block in net.blocks]

    assert maps(generator("sagan", 64, narrow=True)) == [16, 8, 4, 2]
    assert maps(generator("sagan", 64)) == [32, 16, 8, 4]
    assert maps(generator("sagan", 32, narrow=True)) == maps(generator("sagan", 32))


def test_the_last_convolution_may_be_without_spectral_norm() -> None:
    assert generator("biggan-deep").out.spectral_norm
    without = generator("biggan-deep", sn_out=False)
    assert not without.out.spectral_norm
    assert without.linear.spectral_norm


def test_dcgan_without_its_first_norm_sees_the_linear_layer_as_it_is() -> None:
    net = generator("dcgan", classes=0, first_norm=False).eval()
    z = torch.randn(2, 8)
    seen: list[torch.Tensor] = []
    net.up[0].register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    net(z)
    assert torch.equal(seen[0], net.linear(z).view(2, 16, 4, 4))
    assert not [key for key in net.state_dict() if key.startswith("norm.")]


def test_studiogans_dcgan_critic_by_its_definition() -> None:
    net = critic("dcgan", paired=True, pooled=True, slope=0.0, bn_eps=1e-4, sn_critic=False).eval()
    h = x = torch.randn(2, 3, 32, 32)
    for place, (conv, norm) in enumerate(zip(net.convs, net.norms, strict=True)):
        h = F.conv2d(h, conv.weight, conv.bias, stride=2 if place % 2 else 1, padding=1)
        h = F.relu(F.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-4))
    logit = h.sum((2, 3)) @ net.head.linear.weight[0] + net.head.linear.bias
    assert torch.allclose(net(x).logit, logit, atol=1e-5)
    assert [conv.weight.shape[0] for conv in net.convs] == [2, 2, 4, 4, 8, 8, 16]


def test_the_truncated_prior_is_cut_at_two_and_scaled_by_the_truncation() -> None:
    prior, rng = Prior(64, "truncated"), torch.Generator().manual_seed(0)
    whole = prior.latents(500, rng)
    half = prior.latents(500, rng.manual_seed(0), truncation=0.5)
    assert whole.abs().max() <= 2
    assert whole.abs().max() > 1.95
    assert torch.allclose(half, whole / 2)
    # Variance of N(0, 1) within ±2: 1 − 4·φ(2) / (2Φ(2) − 1).
    assert float(whole.var()) == pytest.approx(0.7737, abs=0.02)
