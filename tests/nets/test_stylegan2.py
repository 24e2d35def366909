"""StyleGAN2's networks against what the paper and its authors' code fix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.generators.sampling import sample
from steadygan.nets.registry import count_parameters, create_critic, create_generator
from steadygan.nets.stylegan2 import Generator, SynthesisLayer
from steadygan.pictures.pixels import to_uint8

pytestmark = pytest.mark.usefixtures("float64")


def generator(size: int = 16, classes: int = 0, noisy: bool = True, **options: object) -> Generator:
    net = create_generator("stylegan2", size=size, channels=3, classes=classes, latent=6, width=1, **options)
    assert isinstance(net, Generator)
    for layer in net.modules():
        if noisy and isinstance(layer, SynthesisLayer) and layer.strength is not None:
            nn.init.constant_(layer.strength, 0.1)
    return net


def critic(size: int = 16, classes: int = 0, **options: object) -> nn.Module:
    return create_critic("stylegan2", size=size, channels=3, classes=classes, width=1, **options)


def labels(classes: int, count: int) -> Tensor | None:
    return torch.arange(count) % classes if classes else None


# Mapping, styles, truncation


def test_mapping_looks_at_the_direction_of_the_latent_alone() -> None:
    net = generator()
    z = torch.randn(4, 6)
    torch.testing.assert_close(net.map(7 * z), net.map(z), rtol=1e-6, atol=1e-8)
    assert not torch.allclose(net.map(-z), net.map(z))
    h = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in net.mapping.layers:
        h = F.leaky_relu(h @ layer.weight.t() * 0.01 / math.sqrt(6) + 0.01 * layer.bias, 0.2) * math.sqrt(2)
    torch.testing.assert_close(net.map(z), h[:, None].expand(-1, net.num_layers, -1), rtol=1e-6, atol=1e-8)


def styles_seen(net: Generator, z: Tensor, **arguments: float) -> Tensor:
    """The w that `forward` hands to `synthesise`."""
    seen: list[Tensor] = []
    synthesise = net.synthesise
    net.synthesise = lambda w: seen.append(w) or synthesise(w)
    try:
        net(z, **arguments)
    finally:
        del net.synthesise
    return seen[0].detach()


def test_style_mixing_takes_over_from_some_layer_after_the_first_on() -> None:
    net = generator(style_mixing=1.0).train()
    z = torch.randn(200, 6)
    own = net.map(z)[:, 0]
    w = styles_seen(net, z)
    assert w.shape == (200, 6, 6)
    mine = (w == own[:, None]).all(2)
    assert mine[:, 0].all()
    assert not mine[:, -1].any()
    first_other = mine.sum(1)
    assert set(first_other.tolist()) == set(range(1, 6))
    for styles, start in zip(w, first_other.tolist(), strict=True):
        assert (styles[:start] == styles[0]).all()
        assert (styles[start:] == styles[-1]).all()


def test_style_mixing_is_for_a_share_of_the_images_of_a_training_batch() -> None:
    z = torch.randn(400, 6)
    net = generator(style_mixing=0.25).train()
    unmixed = (styles_seen(net, z) == net.map(z)).flatten(1).all(1).double().mean()
    assert 0.68 < float(unmixed) < 0.82
    assert torch.equal(styles_seen(net.eval(), z), net.map(z))
    net = generator(style_mixing=0.0).train()
    assert torch.equal(styles_seen(net, z), net.map(z))


def test_average_w_follows_training_calls_alone() -> None:
    net = generator(w_avg_beta=0.9).train()
    z, other = torch.randn(50, 6), torch.randn(50, 6)
    net.map(z)
    net.eval()(z)
    assert not net.w_avg.any()
    net.train()(z)
    first = 0.1 * net.map(z)[:, 0].mean(0)
    torch.testing.assert_close(net.w_avg, first.detach())
    net(other)
    torch.testing.assert_close(net.w_avg, (0.9 * first + 0.1 * net.map(other)[:, 0].mean(0)).detach())
    assert "w_avg" in net.state_dict()


@torch.no_grad()
def test_truncation_pulls_w_towards_its_average() -> None:
    net = generator().eval()
    net.w_avg.copy_(torch.randn(6))
    z = torch.randn(5, 6)
    plain = net(z)
    torch.testing.assert_close(net(z, truncation=1.0), plain)
    average = net(z, truncation=0.0)
    torch.testing.assert_close(average, average[:1].expand(5, -1, -1, -1))
    torch.testing.assert_close(average[:1], net.synthesise(net.w_avg.expand(1, net.num_layers, -1)))
    half = net.synthesise((net.map(z) + net.w_avg) / 2)
    torch.testing.assert_close(net(z, truncation=0.5), half)
    assert not torch.allclose(half, plain)


@torch.no_grad()
def test_samples_are_truncated_in_w_and_not_in_z() -> None:
    net = generator(classes=2).eval()
    net.w_avg.copy_(torch.randn(6))
    z, y = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64), torch.arange(6) % 2
    images = sample(net, Prior(6), 6, labels=y, seed=3, truncation=0.3, batch_size=4)
    assert torch.equal(images, to_uint8(net(z, y, truncation=0.3)))
    assert torch.equal(sample(net, Prior(6), 6, labels=y, seed=3), to_uint8(net(z, y)))


# Noise and synthesis


@torch.no_grad()
def test_noise_is_random_in_training_and_constant_in_evaluation() -> None:
    net = generator(style_mixing=0.0)
    z = torch.randn(1, 6).expand(2, -1)
    images = net.train()(z)
    assert not torch.allclose(images[0], images[1])
    torch.manual_seed(1)
    first = net(z)
    torch.manual_seed(1)
    assert torch.equal(net(z), first)
    before = torch.get_rng_state()
    still = net.eval()(z)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(still[0], still[1])
    assert torch.equal(net(z), still)
    restored = generator()
    restored.load_state_dict(net.state_dict())
    assert torch.equal(restored.eval()(z), still)


@torch.no_grad()
def test_noise_starts_without_effect_and_can_be_left_out() -> None:
    net = generator(noisy=False, style_mixing=0.0).train()
    z = torch.randn(2, 6)
    torch.testing.assert_close(net(z), net(z))
    without = generator(noise=False)
    assert not any("noise" in name or "strength" in name for name in without.state_dict())
    without.load_state_dict({k: v for k, v in net.state_dict().items() if k in without.state_dict()})
    torch.testing.assert_close(without.eval()(z), net.eval()(z))


@torch.no_grad()
def test_noise_is_one_value_per_pixel_before_the_activation() -> None:
    layer = SynthesisLayer(3, 4, 5, 6, up=False, noise=True).eval()
    layer.strength.fill_(0.7)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, 5)
    h = layer.conv(x, w) / math.sqrt(2) + 0.7 * layer.noise
    torch.testing.assert_close(layer(x, w), F.leaky_relu(h, 0.2) * math.sqrt(2))


@torch.no_grad()
def test_every_layer_has_a_w_of_its_own() -> None:
    net = generator().eval()
    w = torch.randn(1, net.num_layers, 6)
    plain = net.synthesise(w)
    for i in range(net.num_layers):
        changed = w.clone()
        changed[:, i] = torch.randn(6)
        assert not torch.allclose(net.synthesise(changed), plain), i


def test_gradients_of_the_path_length_reach_all_that_shapes_the_image() -> None:
    net = generator(classes=2, style_mixing=0.0).train()
    w = net.map(torch.randn(4, 6), labels(2, 4))
    image = net.synthesise(w)
    (slope,) = torch.autograd.grad((image * torch.randn_like(image)).sum(), w, create_graph=True)
    slope.square().sum(2).mean(1).sqrt().var().backward()
    untouched = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # The image is linear in these: they move it, not its slope.
    assert untouched == [f"to_rgb.{i}.bias" for i in range(3)]


# Critic


# Whole networks


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_networks_of_every_shape_make_and_score_images(size: int, channels: int, classes: int) -> None:
    shape = {"size": size, "channels": channels, "classes": classes, "width": 1}
    net, judge = create_generator("stylegan2", **shape, latent=5), create_critic("stylegan2", **shape)
    assert (net.size, net.channels, net.classes, net.latent) == (size, channels, classes, 5)
    assert (judge.size, judge.channels, judge.classes) == (size, channels, classes)
    assert net.num_layers == 2 * math.log2(size) - 2
    y = labels(classes, 4)
    with torch.no_grad():
        x = net(torch.randn(4, 5), y)
        score = judge(x, y)
    assert x.shape == (4, channels, size, size)
    assert 0.3 < float(x.std()) < 4
    assert score.logit.shape == (4,)
    assert score.features.shape == (4, 8)
    assert score.pixels is None
    torch.testing.assert_close(judge.head(score.features, y), score.logit)


def test_labels_matter_to_conditional_networks_only() -> None:
    x, z = torch.randn(2, 3, 16, 16), torch.randn(2, 6)
    zeros, ones = torch.zeros(2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
    for classes in (0, 2):
        net, judge = generator(classes=classes).eval(), critic(classes=classes)
        assert torch.equal(net(z, zeros), net(z, ones)) == (classes == 0)
        assert torch.equal(judge(x, zeros).logit, judge(x, ones).logit) == (classes == 0)
    with pytest.raises(ValueError, match="needs labels"):
        net(z)
    with pytest.raises(ValueError, match="needs labels"):
        judge(x)


def test_first_and_second_derivatives_of_the_generator_are_right() -> None:
    net = generator(classes=2, mapping_layers=2, w_dim=2).eval()
    pattern, y = torch.randn(1, 3, 16, 16), torch.tensor([1])

    def output(z: Tensor, bias: Tensor) -> Tensor:
        image = torch.func.functional_call(net, {"first.conv.affine.bias": bias}, (z, y))
        return (image * pattern).mean((2, 3))

    inputs = (torch.randn(1, 6, requires_grad=True), net.first.conv.affine.bias.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


@pytest.mark.parametrize("residual", [True, False])
def test_first_and_second_derivatives_of_the_critic_are_right(residual: bool) -> None:
    net = critic(classes=2, residual=residual, mapping_layers=2)
    pattern, y = torch.randn(3, 3, 16, 16), torch.tensor([1, 0, 1])

    def logit(corner: Tensor, weight: Tensor) -> Tensor:
        x = pattern + F.pad(corner, (7, 8, 7, 8))
        return torch.func.functional_call(net, {"head.linear.weight": weight}, (x, y)).logit

    inputs = (torch.randn(3, 3, 1, 1), net.head.linear.weight.detach().clone())
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(logit, inputs)
    assert torch.autograd.gradgradcheck(logit, inputs)


def test_channels_last_gives_the_same_images_and_logits() -> None:
    net, judge, z = generator().eval(), critic(), torch.randn(4, 6)
    x = net(z)
    logit = judge(x).logit
    net.to(memory_format=torch.channels_last)
    judge.to(memory_format=torch.channels_last)
    x_nhwc = net(z)
    assert x_nhwc.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x_nhwc, x)
    torch.testing.assert_close(judge(x_nhwc).logit, logit)


@torch.no_grad()
def test_autocast_rounds_the_convolutions_and_neither_styles_nor_colours_nor_logits() -> None:
    net, judge, z = generator(classes=2).float().eval(), critic(classes=2).float(), torch.randn(4, 6).float()
    y = labels(2, 4)
    x, w = net(z, y), net.map(z, y)
    logit = judge(x, y).logit
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net.map(z, y), w)
        rounded, score = net(z, y), judge(x, y)
        assert net.first(net.constant.expand(4, -1, -1, -1), w[:, 0]).dtype == torch.bfloat16
        assert net.train()(z, y).dtype == torch.float32
    assert (rounded.dtype, score.logit.dtype, score.features.dtype) == (torch.float32,) * 3
    assert 0 < float((rounded - x).abs().max()) < 0.05 * float(x.std())
    torch.testing.assert_close(score.logit, logit, rtol=0.05, atol=0.02)
    # Colours that have no rounding in them are doubled and summed without any.
    net.eval()
    for layer in net.to_rgb:
        layer.weight.zero_()
        layer.bias.copy_(torch.randn(3).bfloat16())
    x = net(z, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(z, y), x)


# Sizes


def generator_count(maps: list[int], classes: int, mapping: int, channels: int = 3, w_dim: int = 512) -> int:
    """Layer by layer, from Figure 2 of the paper: each has a kernel, a bias, a noise strength and a style A(w)."""

    def style(before: int) -> int:
        return w_dim * before + before

    def layer(before: int, after: int) -> int:
        return 9 * before * after + after + 1 + style(before)

    total = 16 * maps[0] + layer(maps[0], maps[0])
    total += sum(layer(a, b) + layer(b, b) for a, b in itertools.pairwise(maps))
    total += sum(channels * m + channels + style(m) for m in maps)
    total += mapping * (w_dim * w_dim + w_dim)
    return total + (classes * w_dim + w_dim + w_dim * w_dim if classes else 0)


def critic_count(maps: list[int], classes: int, residual: bool, channels: int = 3) -> int:
    top = maps[0]
    total = channels * maps[-1] + maps[-1]
    for after, before in itertools.pairwise(maps):
        total += 9 * before * before + before + 9 * before * after + after + (before * after if residual else 0)
    total += 9 * (top + 1) * top + top + 16 * top * top + top
    if not classes:
        return total + top + 1
    return total + top * top + top + classes * top + top + 8 * (top * top + top)


def counts(
    size: int, classes: int, width: int, mapping: int = 8, residual: bool = True, **options: int
) -> tuple[int, int]:
    shape = {"size": size, "channels": 3, "classes": classes, "width": width, **options}
    with torch.device("meta"):
        net = create_generator("stylegan2", latent=512, mapping_layers=mapping, **shape)
        return count_parameters(net), count_parameters(create_critic("stylegan2", residual=residual, **shape))


@pytest.mark.parametrize("classes", [0, 10])
def test_parameters_are_those_of_the_published_configurations(classes: int) -> None:
    maps = [512, 512, 512, 512, 512, 256, 128, 64, 32]
    expected = generator_count(maps, classes, 8), critic_count(maps, classes, True)
    assert counts(1024, classes, 64) == expected
    maps = [512, 512, 512, 512, 256, 128, 64]
    expected = generator_count(maps, classes, 8), critic_count(maps, classes, True)
    assert counts(256, classes, 32, fmap_max=512) == expected
    maps = [512, 512, 512, 512]
    expected = generator_count(maps, classes, 2), critic_count(maps, classes, False)
    assert counts(32, classes, 64, mapping=2, residual=False) == expected
    maps = [512, 512, 256, 128]
    expected = generator_count(maps, classes, 8), critic_count(maps, classes, True)
    assert counts(32, classes, 8, fmap_max=512) == expected


def test_parameters_at_1024_are_those_the_authors_code_prints() -> None:
    assert counts(1024, 0, 64) == (30_370_060, 29_012_513)
    assert counts(1024, 0, 64, mapping=2) == (28_794_124, 29_012_513)


def test_same_rng_gives_the_same_network() -> None:
    shape = {"size": 16, "channels": 3, "classes": 2, "width": 1, "latent": 4}
    first, again, other = (
        create_generator("stylegan2", **shape, rng=torch.Generator().manual_seed(seed)).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.noise"], other["first.noise"])


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (generator, {"size": 48}, r"stylegan2: size must be one of 16, 32, .*1024, got 48"),
        (critic, {"size": 8}, r"stylegan2: size must be one of .*got 8"),
        (generator, {"mapping_layers": 0}, "mapping_layers must be at least 1"),
        (critic, {"mapping_layers": 0, "classes": 2}, "mapping_layers must be at least 1"),
        (generator, {"style_mixing": 1.5}, "style_mixing must be between 0 and 1"),
        (generator, {"w_avg_beta": -1}, "w_avg_beta must be between 0 and 1"),
        (generator, {"fmap_max": 0}, "fmap_max must be at least 1"),
        (generator, {"w_dim": 0}, "w_dim must be at least 1"),
        (critic, {"mbstd_group": 1}, "mbstd_group must be 0"),
        (critic, {"mbstd_grup": 4}, r"mbstd_grup.*'mbstd_group'"),
    ],
)
def test_impossible_networks_are_refused_with_the_reason(
    build: Callable[..., nn.Module], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)
