"""The U-Net critic: its tables, the encoder map of each decoder block, and its two kinds of logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.attention import Attention
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.resnet import UpBlock
from steadygan.nets.spectral_norm import PLAIN, SpectralNorm, advance_spectral_norm
from steadygan.nets.unet import Unnormalised

SIZES = [32, 64, 128, 256]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def conv(before: int, after: int, kernel: int) -> int:
    return before * after * kernel * kernel + after


@pytest.mark.parametrize(
    ("size", "down", "up"),
    [
        (128, [1, 2, 4, 8, 16], [(16, 8), (16, 4), (8, 2), (4, 1), (2, 1)]),
        (256, [1, 2, 4, 8, 8, 16], [(16, 8), (16, 8), (16, 4), (8, 2), (4, 1), (2, 1)]),
    ],
)
@pytest.mark.parametrize("classes", [0, 10])
def test_published_width_has_the_parameters_of_the_authors_table(
    published_counts: Callable[..., tuple[int, int]],
    size: int,
    down: list[int],
    up: list[tuple[int, int]],
    classes: int,
) -> None:
    widths = [3, *(64 * multiple for multiple in down)]
    pairs = [*itertools.pairwise(widths), *((64 * a, 64 * b) for a, b in up)]
    expected = sum(conv(a, b, 3) + conv(b, b, 3) + conv(a, b, 1) for a, b in pairs)
    expected += 64 + 1 + 1024 + 1 + classes * (1024 + 64)
    counts = published_counts("unet", size=size, channels=3, classes=classes, latent=84, width=64)
    assert counts[1] == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_networks_of_every_shape_score_images_and_pixels(size: int, channels: int, classes: int) -> None:
    shape = {"size": size, "channels": channels, "classes": classes, "width": 2}
    generator = create_generator("unet", **shape, latent=7, skip_z=False, attention=0)
    critic = create_critic("unet", **shape)
    y = torch.arange(2) % classes if classes else None
    with torch.no_grad():
        x = generator(torch.randn(2, 7), y)
        score = critic(x, y)
    assert x.shape == (2, channels, size, size)
    assert score.logit.shape == (2,)
    assert score.pixels.shape == (2, 1, size, size)
    assert score.features.shape == (2, critic.encoder[-1].conv2.out_channels)
    torch.testing.assert_close(critic.head(score.features, y), score.logit)
    assert float(score.pixels.std()) > 0


def captured(critic: nn.Module, x: Tensor, y: Tensor | None = None) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Outputs of the encoder, inputs and outputs of the decoder."""
    encoded: list[Tensor] = []
    entering: list[Tensor] = []
    leaving: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _, __, out: encoded.append(out)) for block in critic.encoder]
    for block in critic.decoder:
        hooks.append(block.register_forward_pre_hook(lambda _, args: entering.append(args[0])))
        hooks.append(block.register_forward_hook(lambda _, __, out: leaving.append(out)))
    critic(x, y)
    for hook in hooks:
        hook.remove()
    return encoded, entering, leaving


@pytest.mark.parametrize("size", SIZES)
def test_each_decoder_block_but_the_first_sees_the_encoder_map_of_its_side(size: int) -> None:
    critic = create_critic("unet", size=size, channels=1, classes=0, width=1)
    with torch.no_grad():
        encoded, entering, leaving = captured(critic, torch.randn(1, 1, size, size))
    levels = len(encoded)
    assert encoded[-1].shape[2:] == (4, 4)
    assert torch.equal(entering[0], encoded[-1])
    for place in range(1, levels):
        skip = encoded[levels - 1 - place]
        assert skip.shape == leaving[place - 1].shape
        assert torch.equal(entering[place], torch.cat([leaving[place - 1], skip], 1))
    assert leaving[-1].shape == (1, 1, size, size)


def test_pixels_depend_on_every_encoder_map_beyond_what_passes_through_the_bottleneck() -> None:
    critic = create_critic("unet", size=64, channels=1, classes=0, width=2).double()
    x = torch.randn(1, 1, 64, 64).double()
    pixels = critic(x).pixels
    for block in critic.decoder[1:]:
        before = block.conv1.in_channels // 2
        with torch.no_grad():
            kept = block.conv1.weight[:, before:].clone()
            block.conv1.weight[:, before:] = 0
            assert not torch.allclose(critic(x).pixels, pixels)
            block.conv1.weight[:, before:] = kept
    torch.testing.assert_close(critic(x).pixels, pixels)


def test_logit_comes_from_the_bottleneck_and_not_from_the_decoder() -> None:
    critic = create_critic("unet", size=32, channels=1, classes=3, width=2)
    x, y = torch.randn(2, 1, 32, 32), torch.tensor([0, 2])
    score = critic(x, y)
    encoded, _, _ = captured(critic, x, y)
    torch.testing.assert_close(score.features, 16 * encoded[-1].clamp(min=0).mean((2, 3)))
    gradients = torch.autograd.grad(score.logit.sum(), list(critic.decoder.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in gradients)


@pytest.mark.parametrize("classes", [0, 3])
def test_pixels_are_a_plain_convolution_plus_the_projection_on_the_class(classes: int) -> None:
    critic = create_critic("unet", size=32, channels=1, classes=classes, width=2).double()
    nn.init.constant_(critic.out.bias, 0.3)
    if classes:
        # The orthogonal table it starts with has no largest singular value for the power iteration to find.
        nn.init.normal_(critic.pixel_embedding.weight)
    advance_spectral_norm(critic, 300)
    x, y = torch.randn(3, 1, 32, 32).double(), torch.tensor([0, 2, 1])
    h = captured(critic, x, y)[2][-1].detach().numpy()
    weight = critic.out.weight.detach().numpy()[0, :, 0, 0]
    expected = np.einsum("nchw,c->nhw", h, weight) + 0.3
    if classes:
        table = critic.pixel_embedding.weight.detach().numpy()
        table = table / np.linalg.norm(table, 2)
        expected += np.einsum("nchw,nc->nhw", h, table[y.numpy()])
    np.testing.assert_allclose(critic(x, y).pixels.detach().numpy()[:, 0], expected, rtol=1e-8, atol=1e-12)


def test_decoder_block_doubles_before_its_convolutions_and_has_no_norm() -> None:
    block = UpBlock(4, 2, norm=lambda _: Unnormalised(), spectral=PLAIN).double()
    x = torch.randn(2, 4, 4, 4).double()
    doubled = [h.repeat_interleave(2, 2).repeat_interleave(2, 3) for h in (x.clamp(min=0), x)]
    h = F.conv2d(doubled[0], block.conv1.weight, block.conv1.bias, padding=1)
    h = F.conv2d(h.clamp(min=0), block.conv2.weight, block.conv2.bias, padding=1)
    torch.testing.assert_close(block(x), h + F.conv2d(doubled[1], block.shortcut.weight, block.shortcut.bias))


def test_spectral_norm_covers_all_but_the_last_convolution() -> None:
    critic = create_critic("unet", size=32, channels=1, classes=3, width=2)
    layers = {name: layer for name, layer in critic.named_modules() if isinstance(layer, SpectralNorm)}
    assert {name for name, layer in layers.items() if not layer.spectral_norm} == {"out"}
    assert {"head.linear", "head.embedding", "pixel_embedding", "decoder.2.shortcut"} <= set(layers)


def test_attention_is_in_the_encoder_and_only_on_request() -> None:
    shape = {"size": 32, "channels": 1, "classes": 0, "width": 2}
    assert not any(isinstance(layer, Attention) for layer in create_critic("unet", **shape).modules())
    critic = create_critic("unet", **shape, attention=[8])
    assert [isinstance(layer, Attention) for layer in critic.attention] == [False, True, False]
    x = torch.randn(1, 1, 32, 32)
    before = critic(x)
    nn.init.constant_(critic.attention[1].gamma, 1.0)
    after = critic(x)
    assert not torch.equal(before.logit, after.logit)
    assert not torch.equal(before.pixels, after.pixels)


@pytest.mark.parametrize("classes", [0, 3])
def test_scores_of_an_image_do_not_depend_on_its_batch(classes: int) -> None:
    critic = create_critic("unet", size=32, channels=1, classes=classes, width=2).double().train()
    assert not has_batch_statistics(critic)
    x, y = torch.randn(3, 1, 32, 32).double(), torch.arange(3) if classes else None
    together = critic(x, y)
    alone = [critic(x[i : i + 1], None if y is None else y[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together.logit, torch.cat([score.logit for score in alone]))
    torch.testing.assert_close(together.pixels, torch.cat([score.pixels for score in alone]))
    critic.to(memory_format=torch.channels_last)
    again = critic(x.to(memory_format=torch.channels_last), y)
    torch.testing.assert_close(again.pixels, together.pixels)


def test_pixel_logits_are_in_full_precision_under_autocast() -> None:
    critic = create_critic("unet", size=32, channels=1, classes=3, width=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = critic(torch.randn(2, 1, 32, 32), torch.tensor([0, 1]))
    assert score.pixels.dtype == torch.float32
    assert len(score.pixels.detach().unique()) > 256


def test_first_and_second_derivatives_of_logit_and_pixels_are_right() -> None:
    critic = create_critic("unet", size=32, channels=1, classes=2, width=1).double()
    y, pattern = torch.tensor([1]), torch.randn(1, 1, 32, 32).double()
    name = "decoder.1.conv1.weight"
    weight = critic.decoder[1].conv1.weight.detach()[:, :, :1, :1].clone().requires_grad_()
    fixed = critic.decoder[1].conv1.weight.detach().clone()

    def score(corner: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        x = pattern + F.pad(corner, (10, 20, 10, 20))
        full = fixed + F.pad(weight, (0, 2, 0, 2))
        found = torch.func.functional_call(critic, {name: full}, (x, y))
        return found.logit, found.pixels[:, :, 8:16:4, 8:16:4]

    corner = torch.randn(1, 1, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(score, (corner, weight))
    assert torch.autograd.gradgradcheck(score, (corner, weight))


def test_size_without_a_table_is_refused() -> None:
    with pytest.raises(UserError, match="unet: size must be one of 32, 64, 128, 256, got 512"):
        create_critic("unet", size=512, channels=3, classes=0, width=2)
