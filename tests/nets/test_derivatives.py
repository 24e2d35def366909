"""Whole networks are differentiable twice, as LOGAN, gradient penalties and path lengths need it, in every family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steadygan.nets.attention import Attention
from steadygan.nets.registry import FAMILIES, create_critic, create_generator

SIZES = {"size": 32, "channels": 1, "classes": 2}
LATENT = 4
KINDS = [
    kind for kind in FAMILIES if kind in ("dcgan", "resnet", "sagan", "biggan", "biggan-deep", "unet", "stylegan2")
]


def options(kind: str) -> dict[str, int]:
    attention = {"attention": 16} if kind in ("sagan", "biggan", "biggan-deep") else {}
    return attention | {"width": 4 if kind == "biggan-deep" else 2}


def wake_attention(net: nn.Module) -> nn.Module:
    """Attention adds nothing at first: γ is 0."""
    for layer in net.modules():
        if isinstance(layer, Attention):
            nn.init.constant_(layer.gamma, 0.5)
    return net.eval()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_of_an_image_in_its_latent_are_right(kind: str) -> None:
    generator = wake_attention(create_generator(kind, **SIZES, latent=LATENT, **options(kind)))
    direction, y = torch.randn(1, 1, 32, 32), torch.tensor([1])
    z = torch.randn(1, LATENT).requires_grad_()

    def pixels(z: Tensor) -> Tensor:
        return (generator(z, y) * direction).sum()

    assert float(torch.autograd.grad(pixels(z), z)[0].abs().min()) > 0
    assert torch.autograd.gradcheck(pixels, (z,))
    assert torch.autograd.gradgradcheck(pixels, (z,))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_of_a_logit_in_the_image_are_right(kind: str) -> None:
    """In three random directions of image space; two images, for what looks at the batch."""
    critic = wake_attention(create_critic(kind, **SIZES, **options(kind)))
    images, directions, y = torch.randn(2, 1, 32, 32), torch.randn(3, 2, 1, 32, 32), torch.arange(2)
    way = (0.1 * torch.randn(3)).requires_grad_()

    def logits(way: Tensor) -> Tensor:
        return critic(images + torch.einsum("d,dnchw->nchw", way, directions), y).logit

    assert float(torch.autograd.grad(logits(way).sum(), way)[0].abs().min()) > 0
    assert torch.autograd.gradcheck(logits, (way,))
    assert torch.autograd.gradgradcheck(logits, (way,))
