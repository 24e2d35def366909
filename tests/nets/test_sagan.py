"""SAGAN: the networks of the authors' code, counted layer by layer, and where they differ from BigGAN."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.nets.attention import Attention
from steadygan.nets.batch_norm import BatchNorm2d, ConditionalBatchNorm2d, has_batch_statistics
from steadygan.nets.layers import Embedding
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.spectral_norm import SpectralNorm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel * kernel + after


def attention(width: int) -> int:
    return width * (width // 8 + width // 8 + width // 2 + width // 2) + 1


def sagan_counts(classes: int) -> tuple[int, int]:
    """From generator_test and discriminator_test of the authors' code, at 128²."""
    generator = (128 + 1) * 16 * 1024 + 2 * 64 + conv(64, 3, 3) + attention(256)
    widths = [1024, 1024, 512, 256, 128, 64]
    for a, b in itertools.pairwise(widths):
        generator += conv(a, b, 3) + conv(b, b, 3) + conv(a, b, 1) + 2 * (a + b) * max(classes, 1)
    widths = [3, 64, 128, 256, 512, 1024, 1024]
    critic = attention(128) + 1024 + 1 + classes * 1024
    for a, b in itertools.pairwise(widths):
        critic += conv(a, b, 3) + conv(b, b, 3) + (conv(a, b, 1) if a != b else 0)
    return generator, critic


@pytest.mark.parametrize("classes", [0, 1000])
def test_published_width_has_the_parameters_of_the_authors_code(
    published_counts: Callable[..., tuple[int, int]], classes: int
) -> None:
    counts = published_counts("sagan", size=128, channels=3, classes=classes, latent=128, width=64)
    assert counts == sagan_counts(classes)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_networks_of_every_shape_make_and_score_images(size: int, channels: int, classes: int) -> None:
    shape = {"size": size, "channels": channels, "classes": classes, "width": 2}
    generator, critic = create_generator("sagan", **shape, latent=5), create_critic("sagan", **shape)
    y = torch.arange(2) % classes if classes else None
    with torch.no_grad():
        x = generator(50 * torch.randn(2, 5), y)
        score = critic(x, y)
    assert x.shape == (2, channels, size, size)
    assert 0 < float(x.abs().max()) <= 1
    assert score.logit.shape == (2,)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (size, channels, classes, 5)


@pytest.mark.parametrize(("options", "places"), [({}, (2, 1)), ({"attention": 64}, (3, 0))])
def test_attention_is_at_32_pixels_at_128_pixels_and_can_be_moved(options: dict, places: tuple[int, int]) -> None:
    shape = {"size": 128, "channels": 3, "classes": 0, "width": 1}
    nets = create_generator("sagan", **shape, latent=4, **options), create_critic("sagan", **shape, **options)
    for net, place in zip(nets, places, strict=True):
        assert [isinstance(layer, Attention) for layer in net.attention].index(True) == place
        assert sum(isinstance(layer, Attention) for layer in net.attention) == 1


def test_both_networks_are_spectrally_normalised_and_conditioned_by_tables() -> None:
    shape = {"size": 32, "channels": 3, "classes": 4, "width": 2}
    generator, critic = create_generator("sagan", **shape, latent=4), create_critic("sagan", **shape)
    for net in (generator, critic):
        assert all(layer.spectral_norm for layer in net.modules() if isinstance(layer, SpectralNorm))
    tables = [layer for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm2d)]
    assert len(tables) == 6
    for layer in tables:
        assert torch.equal(layer.gamma, torch.ones(4, layer.num_features))
        assert not layer.beta.any()
        assert layer.eps == 1e-5
    assert type(generator.norm) is BatchNorm2d
    assert not any(isinstance(layer, Embedding) for layer in generator.modules())
    assert isinstance(critic.head.embedding, Embedding)
    off = create_generator("sagan", **shape, latent=4, sn_generator=False)
    assert not any(name.endswith((".u", ".v")) for name in off.state_dict())


def test_weights_start_glorot_uniform() -> None:
    critic = create_critic("sagan", size=32, channels=3, classes=0, width=8)
    weight = critic.blocks[1].conv1.weight.detach()
    bound = (6 / (9 * sum(weight.shape[:2]))) ** 0.5
    assert 0.98 * bound < float(weight.abs().max()) <= bound


def test_logit_of_an_image_does_not_depend_on_its_batch() -> None:
    critic = create_critic("sagan", size=32, channels=1, classes=3, width=2).double().train()
    for layer in critic.attention:
        if isinstance(layer, Attention):
            nn.init.constant_(layer.gamma, 0.5)
    assert not has_batch_statistics(critic)
    x, y = torch.randn(3, 1, 32, 32).double(), torch.arange(3)
    alone = [critic(x[i : i + 1], y[i : i + 1]).logit for i in range(3)]
    torch.testing.assert_close(critic(x, y).logit, torch.cat(alone))


def test_errors_name_this_family() -> None:
    shape = {"size": 48, "channels": 1, "classes": 0, "width": 1}
    with pytest.raises(UserError, match="sagan: size must be"):
        create_critic("sagan", **shape)
    with pytest.raises(UserError, match="sagan: attention is possible at"):
        create_generator("sagan", **{**shape, "size": 32}, latent=4, attention=12)
    with pytest.raises(UserError, match=r"model\.generator\.warm: unknown option"):
        create_generator("sagan", **{**shape, "size": 32}, latent=4, warm=True)
