"""BigGAN: published parameter counts, how labels and latent enter, and the order of things in the critic."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from steadygan.errors import UserError
from steadygan.nets.attention import Attention
from steadygan.nets.batch_norm import (
    BatchNorm2d,
    ConditionalBatchNorm2d,
    ModulatedBatchNorm2d,
    has_batch_statistics,
    set_batch_groups,
)
from steadygan.nets.biggan import Critic, Generator, initialise
from steadygan.nets.layers import Linear
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.resnet import DownBlock, UpBlock
from steadygan.nets.shape import Shape
from steadygan.nets.spectral_norm import PLAIN, Spectral, SpectralNorm

LATENTS = {32: 8, 64: 5, 128: 12, 256: 7, 512: 8}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def tiny(size: int = 32, classes: int = 3, channels: int = 1, **options: object) -> Generator:
    latent = LATENTS[size]
    return create_generator("biggan", size=size, channels=channels, classes=classes, latent=latent, width=2, **options)


@pytest.mark.parametrize(
    ("size", "latent", "published"),
    [(128, 120, (70_433_988, 87_982_370)), (256, 140, (82_097_604, 98_635_298)), (512, 160, (82_468_068, 98_801_378))],
)
def test_parameters_are_those_published_for_imagenet(
    published_counts: Callable[..., tuple[int, int]], size: int, latent: int, published: tuple[int, int]
) -> None:
    """The counts are those of compare_gan, for 96 channels, 1000 classes, shared embedding and latent chunks."""
    generator, critic = published_counts("biggan", size=size, channels=3, classes=1000, latent=latent, width=96)
    # At 256² the published generator attends at 128², where there are 192 channels, and not at 64² with 384.
    attention = {width: width * (2 * (width // 8) + 2 * (width // 2)) for width in (192, 384)}
    assert generator - published[0] == (attention[384] - attention[192] if size == 256 else 0)
    # compare_gan's discriminator has no shortcut at all where a block keeps its channels, not even one that pools.
    shortcut = {width: width * width + width for width in (96, 768)}
    missing = {128: 0, 256: shortcut[768], 512: shortcut[96] + shortcut[768]}[size]
    assert critic - published[1] == missing
    if size == 256:
        generator, _ = published_counts(
            "biggan", size=256, channels=3, classes=1000, latent=140, width=96, generator={"attention": 128}
        )
        assert generator == published[0]


def test_parameters_of_the_cifar_networks_follow_from_their_table(
    published_counts: Callable[..., tuple[int, int]],
) -> None:
    conv = 256 * 256 * 9 + 256
    generator = (128 + 1) * 16 * 256 + 3 * (2 * conv + 256 * 256 + 256 + 4 * 10 * 256) + 2 * 256 + 256 * 27 + 3
    first = 3 * 256 * 9 + 256 + conv + 3 * 256 + 256
    critic = first + (2 * conv + 256 * 256 + 256) + 2 * 2 * conv + 256 + 1 + 10 * 256
    options = {"shared": False, "skip_z": False}
    counts = published_counts("biggan", size=32, channels=3, classes=10, latent=128, width=64, generator=options)
    assert counts == (generator, critic)


@pytest.mark.parametrize("size", sorted(LATENTS))
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_networks_of_every_shape_make_and_score_images(size: int, channels: int, classes: int) -> None:
    latent, width = LATENTS[size], 1 if size > 128 else 2
    shape = {"size": size, "channels": channels, "classes": classes, "width": width}
    # Attention at 64² before the largest maps costs most of the time, and is tested at 128².
    option = {} if size <= 128 else {"attention": 16}
    generator = create_generator("biggan", **shape, latent=latent, **option)
    critic = create_critic("biggan", **shape, **option)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (
        size,
        channels,
        classes,
        latent,
    )
    y = torch.arange(2) % classes if classes else None
    with torch.no_grad():
        x = generator(50 * torch.randn(2, latent), y)
        score = critic(x, y)
    assert x.shape == (2, channels, size, size)
    assert 0 < float(x.abs().max()) <= 1
    assert score.logit.shape == (2,)
    assert score.pixels is None
    torch.testing.assert_close(critic.head(score.features, y), score.logit)


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
def test_attention_is_at_64_pixels_by_default_from_128_pixels_on(size: int) -> None:
    shape = Shape(size, 1, 0, 2, 1)
    nets = Generator(shape, skip_z=False, init="xavier"), Critic(shape, init="xavier")
    for net, side in zip(nets, (4, size), strict=True):
        sides = []
        for block, attention in zip(net.blocks, net.attention, strict=True):
            side = side * 2 if isinstance(block, UpBlock) else side // (2 if block.down else 1)
            if isinstance(attention, Attention):
                sides.append(side)
        assert sides == ([64] if size >= 128 else [])


def test_modulated_batch_norm_is_an_affine_map_per_image_with_gain_around_one() -> None:
    norm = ModulatedBatchNorm2d(2, lambda features: Linear(3, features, bias=False), eps=1e-3).double()
    x, c = torch.randn(5, 2, 3, 3).double(), torch.randn(5, 3).double()
    array = x.numpy()
    mean, variance = array.mean((0, 2, 3), keepdims=True), array.var((0, 2, 3), keepdims=True)
    gain, shift = (c.numpy() @ layer.weight.detach().numpy().T for layer in (norm.gain, norm.shift))
    normalised = (array - mean) / np.sqrt(variance + 1e-3)
    expected = np.stack([[(1 + gain[n, k]) * normalised[n, k] + shift[n, k] for k in range(2)] for n in range(5)])
    np.testing.assert_allclose(norm(x, c).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="needs labels"):
        norm(x)


def test_the_derivative_of_a_batch_norm_arrives_in_its_memory_format() -> None:
    seen: list[Tensor] = []
    norm, x = BatchNorm2d(4).double(), torch.randn(2, 4, 3, 3, dtype=torch.double)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    h = norm(x)
    h.grad_fn.next_functions[0][0].register_prehook(lambda grads: seen.append(grads[0]))  # type: ignore[union-attr]
    F.glu(h, 1).square().sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    gradcheck(lambda x: F.glu(norm(x), 1), x)
    gradgradcheck(lambda x: F.glu(norm(x), 1), x)


def test_grouped_modulated_batch_norm_equals_separate_calls() -> None:
    grouped = ModulatedBatchNorm2d(2, lambda features: Linear(3, features)).double()
    separate = copy.deepcopy(grouped)
    x, c = torch.randn(6, 2, 3, 3).double() * torch.arange(1, 7).view(-1, 1, 1, 1), torch.randn(6, 3).double()
    set_batch_groups(grouped, 2)
    torch.testing.assert_close(grouped(x, c), torch.cat([separate(x[:3], c[:3]), separate(x[3:], c[3:])]))
    torch.testing.assert_close(grouped.running_var, separate.running_var)


def modulations(generator: Generator, z: Tensor, y: Tensor | None) -> list[list[Tensor]]:
    """For each block, what the gains and biases of its norms were in one pass."""
    seen: list[list[Tensor]] = [[] for _ in generator.blocks]
    hooks = [
        layer.register_forward_hook(lambda _, __, output, place=place: seen[place].append(output))
        for place, block in enumerate(generator.blocks)
        for norm in (block.norm1, block.norm2)
        for layer in (norm.gain, norm.shift)
    ]
    generator(z, y)
    for hook in hooks:
        hook.remove()
    return seen


def test_each_chunk_of_the_latent_reaches_the_norms_of_its_block_only() -> None:
    generator = tiny(128).double()
    z, y = torch.randn(2, 12).double().requires_grad_(), torch.tensor([0, 1])
    seen = modulations(generator, z, y)
    assert len(seen) == 5
    for place, outputs in enumerate(seen):
        assert len(outputs) == 4
        for output in outputs:
            (gradient,) = torch.autograd.grad(output.square().sum(), z, retain_graph=True)
            assert gradient.any(0).nonzero().flatten().tolist() == [2 * (place + 1), 2 * (place + 1) + 1]
    seed, conditions = generator.conditions(z, y)
    assert torch.equal(seed, z[:, :2])
    torch.testing.assert_close(conditions[2], torch.cat([generator.embedding(y), z[:, 6:8]], 1))


def test_shared_embedding_without_chunks_gives_every_norm_the_class_alone() -> None:
    generator = tiny(skip_z=False)
    z, y = torch.randn(4, 8), torch.tensor([0, 1, 1, 0])
    for outputs in modulations(generator, z, y):
        for output in outputs:
            assert torch.equal(output[1], output[2])
            assert not torch.equal(output[0], output[1])
    assert generator.linear.in_features == 8
    assert generator.blocks[0].norm1.gain.in_features == 128


def test_without_shared_embedding_each_norm_has_its_table() -> None:
    generator = tiny(shared=False, skip_z=False)
    norms = [norm for block in generator.blocks for norm in (block.norm1, block.norm2)]
    assert all(isinstance(norm, ConditionalBatchNorm2d) for norm in norms)
    assert generator.embedding is None
    y = torch.tensor([0, 1])
    z = torch.randn(1, 8).expand(2, 8)
    x = generator.eval()(z, y)
    assert not torch.equal(x[0], x[1])


def test_without_classes_the_whole_latent_modulates_every_norm_through_plain_layers() -> None:
    generator = tiny(classes=0)
    z = torch.randn(2, 8).requires_grad_()
    for outputs in modulations(generator, z, None):
        for output in outputs:
            (gradient,) = torch.autograd.grad(output.square().sum(), z, retain_graph=True)
            assert gradient.all()
    first, _, second = gain = generator.blocks[1].norm2.gain
    assert not first.spectral_norm
    assert not second.spectral_norm
    hidden = (z @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(gain(z), hidden @ second.weight.T)
    plain = tiny(classes=0, skip_z=False)
    assert type(plain.blocks[0].norm1) is BatchNorm2d
    assert plain(z.detach()).shape == (2, 1, 32, 32)


def test_last_norm_does_not_depend_on_the_class() -> None:
    assert type(tiny().norm) is BatchNorm2d
    generator = tiny(bn_eps=1e-3)
    assert {module.eps for module in generator.modules() if isinstance(module, BatchNorm2d)} == {1e-3}


def test_spectral_norm_covers_the_generator_but_for_its_class_embedding() -> None:
    generator = tiny(64, attention=16, sn_eps=1e-6)
    layers = {name: layer for name, layer in generator.named_modules() if isinstance(layer, SpectralNorm)}
    assert {name for name, layer in layers.items() if not layer.spectral_norm} == {"embedding"}
    assert {layer.sn_eps for name, layer in layers.items() if name != "embedding"} == {1e-6}
    assert len(layers) == 1 + 1 + 4 * (3 + 4) + 4 + 1
    assert generator.blocks[0].norm1.gain.bias is None
    assert not any(
        layer.spectral_norm for layer in tiny(sn_generator=False).modules() if isinstance(layer, SpectralNorm)
    )
    critic = create_critic("biggan", size=64, channels=1, classes=3, width=2, attention=16)
    layers = {name: layer for name, layer in critic.named_modules() if isinstance(layer, SpectralNorm)}
    assert all(layer.spectral_norm for layer in layers.values())
    assert {"head.linear", "head.embedding", "attention.1.query", "blocks.0.shortcut"} <= set(layers)


@pytest.mark.parametrize(("init", "deviation"), [("orthogonal", None), ("normal", 0.02), ("xavier", None)])
def test_weights_start_as_asked(init: str, deviation: float | None) -> None:
    generator = create_generator(
        "biggan", size=32, channels=3, classes=3, latent=64, width=8, shared=False, skip_z=False, init=init
    )
    critic = create_critic("biggan", size=32, channels=3, classes=3, width=8, init=init)
    table = generator.blocks[0].norm1.gamma.detach()
    for weight in (generator.linear.weight, generator.blocks[1].conv1.weight, critic.head.embedding.weight, table - 1):
        matrix = weight.detach().flatten(1)
        if init == "orthogonal":
            short = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
            torch.testing.assert_close(short @ short.T, torch.eye(len(short)), rtol=0, atol=1e-5)
        elif weight is not critic.head.embedding.weight and matrix.shape != table.shape:
            expected = deviation or (2 / sum(matrix.shape)) ** 0.5
            if weight.ndim == 4:
                expected = deviation or (2 / (9 * sum(weight.shape[:2]))) ** 0.5
            assert float(matrix.std()) == pytest.approx(expected, rel=0.05)
    assert torch.equal(table, torch.ones_like(table)) == (init == "xavier")
    for network in (generator, critic):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any(), name


def test_spectral_norm_is_right_from_the_first_step_after_initialising() -> None:
    critic = create_critic("biggan", size=32, channels=1, classes=0, width=2)
    initialise(critic, "normal")
    for layer in critic.modules():
        if isinstance(layer, SpectralNorm):
            assert 1 - 1e-4 <= float(torch.linalg.matrix_norm(layer.normalised_weight().detach().flatten(1), 2)) < 1.2


def test_generator_is_seed_blocks_and_output_in_this_order() -> None:
    generator = tiny(128).double().eval()
    nn.init.constant_(generator.attention[3].gamma, 0.5)
    z, y = torch.randn(2, 12).double(), torch.tensor([2, 0])
    seed, conditions = generator.conditions(z, y)
    h = generator.linear(seed).view(2, 32, 4, 4)
    for place, block in enumerate(generator.blocks):
        h = block(h, conditions[place])
        if h.shape[2] == 64:
            h = generator.attention[3](h)
    expected = torch.tanh(F.conv2d(F.relu(h / (1 + 1e-5) ** 0.5), generator.out.normalised_weight(), padding=1))
    torch.testing.assert_close(generator(z, y), expected)


def test_generator_block_normalises_then_doubles_then_convolves() -> None:
    norm = {"norm": lambda features: ModulatedBatchNorm2d(features, lambda n: Linear(2, n, bias=False))}
    block = UpBlock(3, 4, **norm, spectral=PLAIN).double().eval()
    x, c = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 2).double()

    def normalised(h: Tensor, layer: ModulatedBatchNorm2d) -> Tensor:
        gain, shift = (c @ module.weight.T for module in (layer.gain, layer.shift))
        return h / (1 + 1e-5) ** 0.5 * (1 + gain[..., None, None]) + shift[..., None, None]

    def doubled(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, 2).repeat_interleave(2, 3)

    h = F.conv2d(doubled(normalised(x, block.norm1).clamp(min=0)), block.conv1.weight, block.conv1.bias, padding=1)
    h = F.conv2d(normalised(h, block.norm2).clamp(min=0), block.conv2.weight, block.conv2.bias, padding=1)
    expected = h + F.conv2d(doubled(x), block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, c), expected)


@pytest.mark.parametrize("wide", [True, False])
def test_critic_blocks_are_wide_and_only_the_first_sees_its_input_unactivated(wide: bool) -> None:
    critic = create_critic("biggan", size=64, channels=3, classes=0, width=2, wide=wide).double()
    widths = [(block.conv1.in_channels, block.conv1.out_channels, block.conv2.out_channels) for block in critic.blocks]
    assert widths == [(a, b if wide or a == 3 else a, b) for a, b in ((3, 2), (2, 4), (4, 8), (8, 16), (16, 32))]
    assert [block.first for block in critic.blocks] == [True, False, False, False, False]
    assert [block.down for block in critic.blocks] == [True, True, True, True, False]


def test_first_critic_block_pools_before_its_shortcut_and_later_ones_after_it() -> None:
    """As published; the two orders agree since mean pooling commutes with a 1×1 convolution."""
    for first in (True, False):
        block = DownBlock(3, 4, down=True, first=first, wide=True, spectral=Spectral()).double()
        x = torch.randn(2, 3, 8, 8).double()
        h = F.relu(block.conv1(x if first else F.relu(x)))
        h = F.conv2d(h, block.conv2.normalised_weight(), block.conv2.bias, padding=1)
        shortcut = block.shortcut(F.avg_pool2d(x, 2)) if first else F.avg_pool2d(block.shortcut(x), 2)
        torch.testing.assert_close(block(x), F.avg_pool2d(h, 2) + shortcut)


def test_critic_at_32_pixels_halves_twice_and_ends_with_two_identity_shortcuts() -> None:
    critic = create_critic("biggan", size=32, channels=3, classes=0, width=2)
    assert [block.down for block in critic.blocks] == [True, True, False, False]
    assert [isinstance(block.shortcut, nn.Identity) for block in critic.blocks] == [False, False, True, True]
    x = torch.randn(2, 3, 32, 32)
    h = x
    for block in critic.blocks:
        h = block(h)
    assert h.shape == (2, 8, 8, 8)
    torch.testing.assert_close(critic(x).features, 64 * h.clamp(min=0).mean((2, 3)))


@pytest.mark.parametrize("classes", [0, 3])
def test_logit_of_an_image_does_not_depend_on_its_batch(classes: int) -> None:
    critic = create_critic("biggan", size=32, channels=1, classes=classes, width=2, attention=16).double().train()
    nn.init.constant_(critic.attention[0].gamma, 0.5)
    assert not has_batch_statistics(critic)
    x, y = torch.randn(3, 1, 32, 32).double(), torch.arange(3) if classes else None
    alone = [critic(x[i : i + 1], None if y is None else y[i : i + 1]).logit for i in range(3)]
    torch.testing.assert_close(critic(x, y).logit, torch.cat(alone))


@pytest.mark.parametrize("classes", [0, 3])
def test_channels_last_gives_the_same_images_and_logits(classes: int) -> None:
    generator = tiny(classes=classes, attention=16).double().eval()
    critic = create_critic("biggan", size=32, channels=1, classes=classes, width=2, attention=16).double()
    for net in (generator, critic):
        for layer in net.modules():
            if isinstance(layer, Attention):
                nn.init.constant_(layer.gamma, 0.5)
    z, y = torch.randn(2, 8).double(), torch.arange(2) if classes else None
    x = generator(z, y)
    logit = critic(x, y).logit
    x_nhwc = generator.to(memory_format=torch.channels_last)(z, y)
    torch.testing.assert_close(x_nhwc, x)
    x_nhwc = x_nhwc.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(critic.to(memory_format=torch.channels_last)(x_nhwc, y).logit, logit)


def test_first_and_second_derivatives_of_a_modulated_block_are_right() -> None:
    def norm(features: int) -> nn.Module:
        return ModulatedBatchNorm2d(features, lambda n: Linear(3, n, bias=False, spectral=Spectral()))

    block = UpBlock(2, 1, norm=norm, spectral=Spectral()).double()
    x, c = torch.randn(2, 2, 2, 2).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    weight = block.norm1.gain.weight.detach().clone().requires_grad_()

    def call(x: Tensor, c: Tensor, weight: Tensor) -> Tensor:
        # Running statistics would otherwise move from one evaluation to the next.
        return torch.func.functional_call(copy.deepcopy(block), {"norm1.gain.weight": weight}, (x, c))

    assert torch.autograd.gradcheck(call, (x, c, weight))
    assert torch.autograd.gradgradcheck(call, (x, c, weight))


def test_impossible_networks_are_refused_with_the_way_out() -> None:
    shape = {"size": 128, "channels": 1, "classes": 2, "width": 1}
    with pytest.raises(UserError, match=r"6 equal chunks .* multiple of 6 \(126 or 132, say\), got 128"):
        create_generator("biggan", **shape, latent=128)
    with pytest.raises(UserError, match=r"\(6, say\), got 5"):
        create_generator("biggan", **shape, latent=5)
    with pytest.raises(UserError, match="skip_z needs shared: true"):
        create_generator("biggan", **shape, latent=120, shared=False)
    with pytest.raises(UserError, match=r"init.*'orthogonal'"):
        create_critic("biggan", **shape, init="orthogonl")
    with pytest.raises(UserError, match="biggan: size must be one of 32, 64, 128, 256, 512, got 48"):
        create_critic("biggan", **{**shape, "size": 48})
    with pytest.raises(UserError, match="attention is possible at sides 4, 8, 16, 32, 64 here"):
        create_critic("biggan", **shape, attention=128)
