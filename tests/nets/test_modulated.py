"""StyleGAN2's layers, each against an independent reference."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d
from torch import Tensor, nn

from steadygan.nets.batch_norm import MinibatchStddev, has_batch_statistics, set_batch_groups
from steadygan.nets.modulated import EqualConv2d, EqualLinear, ModulatedConv2d, Resample
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.stylegan2 import CriticBlock, Generator, SynthesisLayer

pytestmark = pytest.mark.usefixtures("float64")

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


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


def each_map(x: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """`function` of every (H, W) map by itself."""
    return torch.tensor(np.array([[function(plane) for plane in image] for image in x.detach().numpy()]))


def zeros_between(x: np.ndarray) -> np.ndarray:
    out = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    out[::2, ::2] = x
    return out


# Filters


def test_upsampling_puts_zeros_between_the_pixels_and_filters_them() -> None:
    x = torch.randn(2, 3, 5, 4)
    # Output n is the sum over j of 4·f[j]·u[n − 2 + j]: two taps of the full convolution lie before the image.
    expected = each_map(x, lambda plane: 4 * convolve2d(zeros_between(plane), FILTER)[1:-2, 1:-2])
    torch.testing.assert_close(Resample().up(x), expected)


def test_downsampling_filters_and_drops_every_other_pixel() -> None:
    x = torch.randn(2, 3, 6, 8)
    expected = each_map(x, lambda plane: convolve2d(plane, FILTER)[2:-1:2, 2:-1:2])
    torch.testing.assert_close(Resample().down(x), expected)


def test_both_resamplings_keep_a_constant_away_from_the_edge() -> None:
    x = torch.full((1, 2, 8, 8), 3.0)
    torch.testing.assert_close(Resample().up(x)[:, :, 2:-2, 2:-2], torch.full((1, 2, 12, 12), 3.0))
    torch.testing.assert_close(Resample().down(x)[:, :, 1:-1, 1:-1], torch.full((1, 2, 2, 2), 3.0))


@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 2, 5), (1, 1, 4), (2, 1, 6), (2, 1, 7)])
def test_derivatives_of_the_filter_are_right(stride: int, padding: int, side: int) -> None:
    x = torch.randn(1, 2, side, side).requires_grad_()
    for layer in (lambda x: Resample().blur(x, padding=padding, stride=stride, gain=2), Resample().up):
        assert torch.autograd.gradcheck(layer, (x,))
        assert torch.autograd.gradgradcheck(layer, (x,))


def test_halving_convolution_sees_the_filtered_image_of_the_infinite_plane() -> None:
    layer = EqualConv2d(2, 3, 3, down=True, activate=False)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 6, 6)
    blurred = each_map(x, lambda plane: convolve2d(plane, FILTER))
    expected = torch.empty(2, 3, 3, 3)
    for i, j in np.ndindex(3, 3):
        # Blurred value n sees pixels n − 3 to n, so that 2i + 2 sits on the middle of the pixels 2i and 2i + 1.
        window = blurred[:, None, :, 2 * i + 1 : 2 * i + 4, 2 * j + 1 : 2 * j + 4]
        expected[:, :, i, j] = (window * layer.weight / math.sqrt(18)).sum((2, 3, 4)) + layer.bias
    torch.testing.assert_close(layer(x), expected)


# Equalised layers


def test_weights_start_at_unit_variance_and_act_at_one_over_the_root_of_the_fan_in() -> None:
    for multiplier in (1.0, 0.01):
        layer = EqualLinear(64, 200, lr_multiplier=multiplier)
        assert float(layer.weight.detach().std()) == pytest.approx(1 / multiplier, rel=0.02)
        effective = layer(torch.eye(64)).detach()
        assert float(effective.std()) == pytest.approx(1 / 8, rel=0.02)
    conv = EqualConv2d(16, 100, 3, activate=False)
    assert float(conv.weight.detach().std()) == pytest.approx(1, rel=0.02)
    assert float(conv(torch.randn(4, 16, 20, 20)).detach()[:, :, 1:-1, 1:-1].std()) == pytest.approx(1, rel=0.03)


def test_adam_moves_the_effective_weights_by_the_multiplier_over_the_root_of_the_fan_in() -> None:
    for multiplier in (1.0, 0.01):
        layer = EqualLinear(16, 3, lr_multiplier=multiplier)
        before = layer(torch.eye(16)).detach()
        bias = layer(torch.zeros(1, 16)).detach()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, eps=0)
        layer(torch.rand(5, 16)).sum().backward()
        optimizer.step()
        bias_step = layer(torch.zeros(1, 16)).detach() - bias
        torch.testing.assert_close(bias_step, torch.full((1, 3), -0.1 * multiplier))
        weight_step = layer(torch.eye(16)).detach() - before - bias_step
        torch.testing.assert_close(weight_step, torch.full((16, 3), -0.1 * multiplier / 4))


def test_activation_is_a_leaky_relu_of_gain_root_two() -> None:
    for layer, x in (
        (EqualLinear(4, 5, activate=True), torch.randn(3, 4)),
        (EqualConv2d(2, 3, 1), torch.randn(2, 2, 4, 4)),
    ):
        nn.init.normal_(layer.bias)
        plain = copy.deepcopy(layer)
        plain.activate, plain.gain = False, 1.0
        h = plain(x)
        torch.testing.assert_close(layer(x), math.sqrt(2) * torch.where(h > 0, h, 0.2 * h))


# Modulated convolution


def modulated_by_loop(layer: ModulatedConv2d, x: Tensor, w: Tensor, demodulate: bool, up: bool) -> Tensor:
    """Equations 1 and 3 of the paper to the letter: a kernel for each image, zeros between the pixels for `up`."""
    kernel = layer.weight / math.sqrt(layer.weight[0].numel())
    out = []
    for image, style in zip(x, w, strict=True):
        s = layer.affine.weight @ style / math.sqrt(len(style)) + layer.affine.bias
        own = kernel * s[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            side = image.shape[1]
            dilated = torch.zeros(len(image), 2 * side, 2 * side)
            dilated[:, ::2, ::2] = image
            h = F.conv2d(F.pad(dilated, (2, 2, 2, 2))[None], own.flip(2, 3))  # convolution in full: side 2·side + 2
            blur = torch.tensor(4 * FILTER).expand(h.shape[1], 1, 4, 4)
            h = F.conv2d(F.pad(h, (3, 3, 3, 3)), blur, groups=h.shape[1])[0, :, 2 : 2 + 2 * side, 2 : 2 + 2 * side]
        else:
            h = F.conv2d(image[None], own, padding=own.shape[-1] // 2)[0]
        out.append(layer.gain * (h + layer.bias[:, None, None]))
    return torch.stack(out)


@pytest.mark.parametrize(
    ("kernel", "up", "demodulate", "gain"), [(3, False, True, 1.0), (3, True, True, 1.4), (1, False, False, 1.4)]
)
def test_modulated_convolution_equals_one_kernel_per_image(
    kernel: int, up: bool, demodulate: bool, gain: float
) -> None:
    layer = ModulatedConv2d(3, 4, kernel, 5, up=up, demodulate=demodulate, gain=gain)
    nn.init.normal_(layer.bias)
    x, w = torch.randn(3, 3, 5, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    out, expected = layer(x, w), modulated_by_loop(layer, x, w, demodulate, up)
    assert out.shape == (3, 4, 10, 10) if up else (3, 4, 5, 5)
    torch.testing.assert_close(out, expected)
    inputs = (x, w, *layer.parameters())
    weights = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad((out * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_demodulated_output_has_unit_variance_whatever_the_style() -> None:
    layer = ModulatedConv2d(32, 16, 3, 8)
    x = torch.randn(4, 32, 64, 64)
    for size in (0.1, 1.0, 30.0):
        variance = layer(x, size * torch.randn(4, 8)).detach()[:, :, 1:-1, 1:-1].var((2, 3))
        torch.testing.assert_close(variance, torch.ones(4, 16), rtol=0.15, atol=0)
        assert float(variance.mean()) == pytest.approx(1, rel=0.02)


def test_style_starts_as_the_identity() -> None:
    layer = ModulatedConv2d(3, 2, 1, 4, demodulate=False)
    x = torch.randn(2, 3, 4, 4)
    expected = F.conv2d(x, layer.weight / math.sqrt(3))
    torch.testing.assert_close(layer(x, torch.zeros(2, 4)), expected)


@pytest.mark.parametrize("up", [False, True])
def test_first_and_second_derivatives_of_a_synthesis_layer_are_right(up: bool) -> None:
    layer = SynthesisLayer(2, 2, 2, 4 if up else 2, up=up, noise=True).eval()
    nn.init.constant_(layer.strength, 0.3)

    def output(x: Tensor, w: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"conv.weight": weight}, (x, w))

    inputs = (torch.randn(1, 2, 2, 2), torch.randn(1, 2), layer.conv.weight.detach().clone())
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(output, inputs)


# Minibatch standard deviation


def stddev_by_hand(x: np.ndarray, members: list[list[int]]) -> np.ndarray:
    told = np.zeros(len(x))
    for group in members:
        told[group] = np.sqrt(x[group].var(axis=0) + 1e-8).mean()
    return told


@pytest.mark.parametrize(
    ("count", "members"),
    [
        (8, [[0, 2, 4, 6], [1, 3, 5, 7]]),
        (3, [[0, 1, 2]]),
        (5, [[0, 2, 4], [1, 3]]),
        (7, [[0, 2, 4, 6], [1, 3, 5]]),
        (10, [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]),
        (1, [[0]]),
    ],
)
def test_minibatch_stddev_by_hand(count: int, members: list[list[int]]) -> None:
    x = torch.randn(count, 3, 4, 4)
    out = MinibatchStddev(4)(x)
    assert out.shape == (count, 4, 4, 4)
    assert torch.equal(out[:, :3], x)
    told = torch.tensor(stddev_by_hand(x.numpy(), members))
    torch.testing.assert_close(out[:, 3], told[:, None, None].expand(-1, 4, 4))


def test_second_derivatives_of_the_minibatch_stddev_are_right() -> None:
    x = torch.randn(5, 1, 2, 1, requires_grad=True)
    assert torch.autograd.gradcheck(MinibatchStddev(4), x)
    assert torch.autograd.gradgradcheck(MinibatchStddev(4), x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [4, 5])
def test_several_batches_in_one_pass_score_like_separate_passes(training: bool, count: int) -> None:
    net = critic(classes=2).train(training)
    batches = [torch.randn(count, 3, 16, 16) for _ in range(3)]
    y = torch.arange(3 * count) % 2
    separate = torch.cat([net(x, part).logit for x, part in zip(batches, y.chunk(3), strict=True)])
    assert not torch.allclose(net(torch.cat(batches), y).logit, separate)
    set_batch_groups(net, 3)
    torch.testing.assert_close(net(torch.cat(batches), y).logit, separate)
    with pytest.raises(ValueError, match="does not split into 3 equal groups"):
        net(torch.randn(4, 3, 16, 16), labels(2, 4))
    set_batch_groups(net, 1)
    torch.testing.assert_close(net(batches[0], y[:count]).logit, separate[:count])


def test_batch_statistics_are_reported_only_where_there_are_any() -> None:
    assert has_batch_statistics(critic())
    assert not has_batch_statistics(generator())
    net, x = critic(mbstd_group=0), torch.randn(3, 3, 16, 16)
    assert not has_batch_statistics(net)
    torch.testing.assert_close(net(x).logit, torch.cat([net(image[None]).logit for image in x]))


@torch.no_grad()
def test_image_is_the_sum_of_the_colours_of_all_resolutions() -> None:
    net = generator(size=32).eval()
    w = torch.randn(2, net.num_layers, 6)
    whole = net.synthesise(w)
    parts = []
    for kept in range(4):
        alone = copy.deepcopy(net)
        for i, layer in enumerate(alone.to_rgb):
            if i != kept:
                layer.weight.zero_()
        parts.append(alone.synthesise(w))
    assert all(part.std() > 0.05 for part in parts)
    torch.testing.assert_close(sum(parts), whole)
    # The smallest contribution is 4×4 pixels, doubled three times.
    h = net.to_rgb[0](net.first(net.constant.expand(2, -1, -1, -1), w[:, 0]), w[:, 1])
    for _ in range(3):
        h = each_map(h, lambda plane: 4 * convolve2d(zeros_between(plane), FILTER)[1:-2, 1:-2])
    torch.testing.assert_close(parts[0], h)


@pytest.mark.parametrize("residual", [True, False])
def test_critic_block_by_its_definition(residual: bool) -> None:
    block = CriticBlock(2, 3, residual=residual)
    for layer in (block.conv1, block.conv2):
        nn.init.normal_(layer.bias)
    x = torch.randn(2, 2, 8, 8)

    def activated(h: Tensor) -> Tensor:
        return F.leaky_relu(h, 0.2) * math.sqrt(2)

    h = activated(F.conv2d(x, block.conv1.weight / math.sqrt(18), block.conv1.bias, padding=1))
    blurred = each_map(h, lambda plane: convolve2d(np.pad(plane, 2), FILTER, mode="valid"))
    expected = activated(F.conv2d(blurred, block.conv2.weight / math.sqrt(18), block.conv2.bias, stride=2))
    if residual:
        halved = each_map(x, lambda plane: convolve2d(plane, FILTER)[2:-1:2, 2:-1:2])
        expected = (expected + F.conv2d(halved, block.shortcut.weight / math.sqrt(2))) / math.sqrt(2)
    torch.testing.assert_close(block(x), expected)


def test_conditional_logit_is_the_projection_on_the_mapped_label() -> None:
    net = critic(classes=3)
    x, y = torch.randn(3, 3, 16, 16), torch.tensor([2, 0, 2])
    score = net(x, y)
    h = net.head.mapping.embedding[y] / math.sqrt(3) + net.head.mapping.embedding_bias
    h = h / h.square().mean(1, keepdim=True).sqrt()
    for layer in net.head.mapping.layers:
        h = F.leaky_relu(h @ layer.weight.t() * 0.01 / math.sqrt(8) + 0.01 * layer.bias, 0.2) * math.sqrt(2)
    out = score.features @ net.head.linear.weight.t() / math.sqrt(8) + net.head.linear.bias
    torch.testing.assert_close(score.logit, (out * h).sum(1) / math.sqrt(8), rtol=1e-5, atol=1e-7)
