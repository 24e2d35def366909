"""DCGAN and ResNet: shapes and parameter counts of the published networks, and what every discriminator promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.layers import Conv2d, Embedding, Linear
from steadygan.nets.registry import count_parameters, create_critic, create_generator
from steadygan.nets.resnet import DownBlock, UpBlock
from steadygan.nets.spectral_norm import PLAIN, SpectralNorm, advance_spectral_norm

KINDS = ["dcgan", "resnet"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def labels(classes: int, count: int) -> torch.Tensor | None:
    return torch.arange(count) % classes if classes else None


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel * kernel + after


def dcgan_counts(size: int, channels: int, classes: int, latent: int = 128) -> tuple[int, int]:
    """From the paper's table at width 64, with the affine part of a batch norm once per class."""
    side, tables = size // 8, max(classes, 1)
    units = 512 * side * side
    generator = latent * units + units + 2 * units * tables
    for before, after in ((512, 256), (256, 128), (128, 64)):
        generator += conv(before, after, 4) + 2 * after * tables
    generator += conv(64, channels, 3)
    critic = conv(channels, 64, 3) + conv(64, 128, 4) + conv(128, 128, 3) + conv(128, 256, 4)
    critic += conv(256, 256, 3) + conv(256, 512, 4) + conv(512, 512, 3) + units + 1 + classes * units
    return generator, critic


def resnet_counts(size: int, channels: int, classes: int, latent: int = 128) -> tuple[int, int]:
    """From the public code of the papers at width 64; 48 from Table 5 of Miyato et al."""
    tables, seed = max(classes, 1), 6 if size == 48 else 4
    ups = {32: [256] * 4, 48: [512, 256, 128, 64], 64: [1024, 512, 256, 128, 64], 128: [1024, 1024, 512, 256, 128, 64]}[
        size
    ]
    generator = (latent + 1) * seed**2 * ups[0] + 2 * ups[-1] + conv(ups[-1], channels, 3)
    for i in range(len(ups) - 1):
        a, b = ups[i], ups[i + 1]
        generator += conv(a, b, 3) + conv(b, b, 3) + conv(a, b, 1) + 2 * (a + b) * tables
    deep = [64, 128, 256, 512, 1024]
    downs = {32: [128] * 4, 48: deep, 64: deep, 128: [*deep, 1024]}[size]
    last_bias = 0 if size == 32 else 1
    critic = conv(channels, downs[0], 3) + conv(downs[0], downs[0], 3) + conv(channels, downs[0], 1)
    for i in range(len(downs) - 1):
        a, b = downs[i], downs[i + 1]
        has_shortcut = a != b or (size == 32 and i == 0)
        critic += conv(a, a, 3) + conv(a, b, 3) + (conv(a, b, 1) if has_shortcut else 0)
    critic += downs[-1] + last_bias + classes * downs[-1]
    return generator, critic


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 48, 64, 128])
@pytest.mark.parametrize(("channels", "classes"), [(3, 0), (3, 10), (1, 0)])
def test_published_width_has_the_published_number_of_parameters(
    kind: str, size: int, channels: int, classes: int
) -> None:
    expected = {"dcgan": dcgan_counts, "resnet": resnet_counts}[kind](size, channels, classes)
    shape = {"size": size, "channels": channels, "classes": classes, "width": 64}
    with torch.device("meta"):
        generator = create_generator(kind, **shape, latent=128)
        critic = create_critic(kind, **shape)
    assert (count_parameters(generator), count_parameters(critic)) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 48, 64, 128])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 0), (1, 3), (3, 3)])
def test_networks_of_every_shape_make_and_score_images(kind: str, size: int, channels: int, classes: int) -> None:
    shape = {"size": size, "channels": channels, "classes": classes, "width": 2}
    generator, critic = create_generator(kind, **shape, latent=5), create_critic(kind, **shape)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (
        size,
        channels,
        classes,
        5,
    )
    y = labels(classes, 4)
    with torch.no_grad():
        x = generator(50 * torch.randn(4, 5), y)
        score = critic(x, y)
    assert x.shape == (4, channels, size, size)
    assert float(x.std()) > 0
    assert score.logit.shape == (4,)
    assert score.features.shape == (4, critic.head.linear.in_features)
    assert score.pixels is None
    torch.testing.assert_close(critic.head(score.features, y), score.logit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [0, 3])
def test_channels_last_and_float64_give_the_same_images_and_logits(kind: str, classes: int) -> None:
    shape = {"size": 32, "channels": 3, "classes": classes, "width": 2}
    generator = create_generator(kind, **shape, latent=5).double().eval()
    critic = create_critic(kind, **shape).double()
    z, y = torch.randn(4, 5).double(), labels(classes, 4)
    x = generator(z, y)
    logit = critic(x, y).logit
    assert logit.dtype == torch.float64
    generator.to(memory_format=torch.channels_last)
    critic.to(memory_format=torch.channels_last)
    x_nhwc = generator(z, y)
    assert x_nhwc.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x_nhwc, x)
    torch.testing.assert_close(critic(x_nhwc, y).logit, logit)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [0, 3])
def test_logit_of_an_image_does_not_depend_on_its_batch(kind: str, classes: int) -> None:
    critic = create_critic(kind, size=32, channels=1, classes=classes, width=2).double().train()
    assert not has_batch_statistics(critic)
    x, y = torch.randn(5, 1, 32, 32).double(), labels(classes, 5)
    together = critic(x, y).logit
    alone = [critic(x[i : i + 1], None if y is None else y[i : i + 1]).logit for i in range(5)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_matter_to_conditional_networks_only(kind: str) -> None:
    x, z = torch.randn(2, 1, 32, 32), torch.randn(2, 5)
    zeros, ones = torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    for classes in (0, 2):
        critic = create_critic(kind, size=32, channels=1, classes=classes, width=2)
        generator = create_generator(kind, size=32, channels=1, classes=classes, latent=5, width=2).eval()
        for name, parameter in generator.named_parameters():
            if name.endswith("gamma"):
                nn.init.normal_(parameter)
        assert torch.equal(critic(x, zeros).logit, critic(x, ones).logit) == (classes == 0)
        assert torch.equal(generator(z, zeros), generator(z, ones)) == (classes == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives_of_the_critic_are_right(kind: str) -> None:
    critic = create_critic(kind, size=32, channels=1, classes=2, width=1).double()
    y = torch.tensor([1])
    pattern = torch.randn(1, 1, 32, 32).double()
    weight = dict(critic.named_parameters())[{"dcgan": "convs.2.weight", "resnet": "blocks.1.conv1.weight"}[kind]]
    name = {"dcgan": "convs.2.weight", "resnet": "blocks.1.conv1.weight"}[kind]

    def logit(corner: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        x = pattern + nn.functional.pad(corner, (10, 20, 10, 20))
        return torch.func.functional_call(critic, {name: weight}, (x, y)).logit

    corner = torch.randn(1, 1, 2, 2).double().requires_grad_()
    weight = weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(logit, (corner, weight))
    assert torch.autograd.gradgradcheck(logit, (corner, weight))


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_covers_every_weight_of_the_critic_and_can_be_switched_off(kind: str) -> None:
    shape = {"size": 32, "channels": 3, "classes": 3, "width": 2}
    layers = [m for m in create_critic(kind, **shape).modules() if isinstance(m, SpectralNorm)]
    assert len(layers) == {"dcgan": 7 + 2, "resnet": 3 + 3 + 2 + 2 + 2}[kind]
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.normalised_weight().detach().flatten(1), ord=2)
        assert 1 - 1e-5 <= float(norm) < 1.25
    names = create_critic(kind, **shape, sn_critic=False).state_dict()
    assert not any(name.endswith((".u", ".v")) for name in names)
    names = create_generator(kind, **shape, latent=5).state_dict()
    assert not any(name.endswith((".u", ".v")) for name in names)


def test_spectral_norm_in_the_generator() -> None:
    shape = {"size": 32, "channels": 3, "classes": 0, "latent": 5, "width": 2}
    generator = create_generator("resnet", **shape, sn_generator=True)
    assert {"linear.u", "blocks.0.conv1.u", "blocks.0.conv1.v", "out.u"} <= set(generator.state_dict())
    with pytest.raises(UserError, match="sn_generator"):
        create_generator("dcgan", **shape, sn_generator=True)


def test_dcgan_starts_from_normal_weights_of_deviation_two_hundredths() -> None:
    critic = create_critic("dcgan", size=32, channels=3, classes=2, width=8)
    generator = create_generator("dcgan", size=32, channels=3, classes=0, latent=64, width=8)
    for weight in (critic.convs[6].weight, critic.head.embedding.weight, generator.linear.weight):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(generator.up[0].weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for network in (critic, generator):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any(), name


def test_resnet_starts_from_glorot_uniform_with_gain_in_residual_branches() -> None:
    critic = create_critic("resnet", size=32, channels=3, classes=2, width=8)
    generator = create_generator("resnet", size=32, channels=3, classes=0, latent=16, width=8)
    for network in (critic, generator):
        for name, layer in network.named_modules():
            if not isinstance(layer, Conv2d | Linear | Embedding):
                continue
            area = math.prod(layer.weight.shape[2:])
            bound = math.sqrt(6 / (area * sum(layer.weight.shape[:2])))
            if "conv" in name:
                bound *= math.sqrt(2)
            largest = float(layer.weight.detach().abs().max())
            assert 0.8 * bound < largest <= bound * (1 + 1e-6), name
            if getattr(layer, "bias", None) is not None:
                assert not layer.bias.any()


def test_first_critic_block_convolves_the_image_itself_and_pools_before_its_shortcut() -> None:
    block = DownBlock(3, 4, down=True, first=True, spectral=PLAIN).double()
    x = torch.randn(2, 3, 8, 8).double()
    h = nn.functional.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    h = nn.functional.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1)
    pooled = [t.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) for t in (h, x)]
    shortcut = torch.einsum("nchw,dc->ndhw", pooled[1], block.shortcut.weight[:, :, 0, 0])
    expected = pooled[0] + shortcut + block.shortcut.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("after", "down"), [(4, True), (4, False), (3, False)])
def test_later_critic_blocks_activate_the_branch_but_not_the_shortcut(after: int, down: bool) -> None:
    block = DownBlock(3, after, down=down, spectral=PLAIN).double()
    assert isinstance(block.shortcut, nn.Identity) == (after == 3)
    x = torch.randn(2, 3, 8, 8).double()
    kept = x.clone()
    h = nn.functional.conv2d(x.clamp(min=0), block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0)
    h = nn.functional.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1)
    # As published: the 1×1 convolution first, the pooling of both branches after it.
    expected = h + block.shortcut(x)
    if down:
        expected = expected.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, kept)


def test_generator_block_upsamples_before_its_convolutions() -> None:
    block = UpBlock(3, 4, 0, spectral=PLAIN).double().eval()
    x = torch.randn(2, 3, 4, 4).double()

    def doubled(t: torch.Tensor) -> torch.Tensor:
        return t.repeat_interleave(2, 2).repeat_interleave(2, 3)

    scale = 1 / math.sqrt(1 + 2e-5)
    h = nn.functional.conv2d(doubled((x * scale).clamp(min=0)), block.conv1.weight, block.conv1.bias, padding=1)
    h = nn.functional.conv2d((h * scale).clamp(min=0), block.conv2.weight, block.conv2.bias, padding=1)
    expected = h + nn.functional.conv2d(doubled(x), block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x), expected)


def test_resnet_features_are_summed_over_space() -> None:
    critic = create_critic("resnet", size=32, channels=1, classes=0, width=2)
    x = torch.randn(2, 1, 32, 32)
    h = x
    for block in critic.blocks:
        h = block(h)
    assert h.shape[2:] == (8, 8)
    torch.testing.assert_close(critic(x).features, 64 * h.clamp(min=0).mean((2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_same_rng_gives_the_same_network_and_leaves_the_global_one_alone(kind: str) -> None:
    shape = {"size": 32, "channels": 1, "classes": 2, "width": 1}
    before = torch.get_rng_state()
    first, again, other = (
        create_critic(kind, **shape, rng=torch.Generator().manual_seed(seed)).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.linear.weight"], other["head.linear.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_state_restores_logits_exactly(kind: str) -> None:
    shape = {"size": 32, "channels": 1, "classes": 2, "width": 1}
    saved, restored = create_critic(kind, **shape), create_critic(kind, **shape)
    advance_spectral_norm(saved)
    restored.load_state_dict(saved.state_dict())
    x, y = torch.randn(2, 1, 32, 32), torch.tensor([0, 1])
    assert torch.equal(restored(x, y).logit, saved(x, y).logit)


@pytest.mark.parametrize("kind", KINDS)
def test_impossible_networks_are_refused_with_the_reason(kind: str) -> None:
    shape = {"size": 32, "channels": 1, "classes": 0, "width": 1}
    with pytest.raises(UserError, match="'resnet'"):
        create_critic("resnett", **shape)
    with pytest.raises(UserError, match=rf"{kind}: size must be .*33"):
        create_critic(kind, **{**shape, "size": 33})
    with pytest.raises(UserError, match="width must be at least 1"):
        create_critic(kind, **{**shape, "width": 0})
    with pytest.raises(UserError, match="classes must be at least 0"):
        create_critic(kind, **{**shape, "classes": -1})
    with pytest.raises(UserError, match=r"sn_crtic.*'sn_critic'"):
        create_critic(kind, **shape, sn_crtic=False)
