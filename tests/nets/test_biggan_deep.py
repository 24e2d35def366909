"""BigGAN-deep: the released generators' sizes, and shortcuts that drop and add channels, against direct computation."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.attention import Attention
from steadygan.nets.batch_norm import BatchNorm2d, ModulatedBatchNorm2d, has_batch_statistics
from steadygan.nets.biggan_deep import DownBlock, UpBlock
from steadygan.nets.layers import Linear
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.spectral_norm import PLAIN, Spectral, SpectralNorm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def modulated(features: int) -> ModulatedBatchNorm2d:
    return ModulatedBatchNorm2d(features, lambda n: Linear(3, n, bias=False))


def doubled(h: Tensor) -> Tensor:
    return h.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halved(h: Tensor) -> Tensor:
    return h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))


def convolved(h: Tensor, layer: nn.Module) -> Tensor:
    return F.conv2d(h, layer.weight, layer.bias, padding=layer.weight.shape[2] // 2)


@pytest.mark.parametrize(("size", "millions"), [(128, 50.4), (256, 55.9), (512, 56.2)])
def test_generator_has_the_released_number_of_parameters(
    published_counts: Callable[..., tuple[int, int]], size: int, millions: float
) -> None:
    generator, _ = published_counts("biggan-deep", size=size, channels=3, classes=1000, latent=128, width=128)
    # The released networks' last convolution has 128 outputs, of which all but the first three are thrown away.
    assert round((generator + 125 * (128 * 9 + 1)) / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("size", "blocks"), [(128, "16 16 16 16 8 8 4 4 2 2 1"), (256, "16 16 16 16 8 8 8 8 4 4 2 2 1")]
)
def test_critic_counts_follow_from_the_mirrored_table(
    published_counts: Callable[..., tuple[int, int]], size: int, blocks: str
) -> None:
    widths = [128 * int(multiple) for multiple in blocks.split()][::-1]
    attended = 256 if size == 128 else 512
    attention = attended * (2 * (attended // 8) + 2 * (attended // 2)) + 1
    count = 3 * 9 * 128 + 128 + attention + widths[-1] + 1 + 10 * widths[-1]
    for a, b in itertools.pairwise(widths):
        middle = b // 4
        count += (a + 1) * middle + 2 * (9 * middle + 1) * middle + (middle + 1) * b + (a + 1) * (b - a)
    assert published_counts("biggan-deep", size=size, channels=3, classes=10, latent=128, width=128)[1] == count


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 3)])
def test_networks_of_every_shape_make_and_score_images(size: int, channels: int, classes: int) -> None:
    shape = {"size": size, "channels": channels, "classes": classes, "width": 1 if size > 128 else 2}
    option = {} if size <= 128 else {"attention": 16}
    generator = create_generator("biggan-deep", **shape, latent=5, **option)
    critic = create_critic("biggan-deep", **shape, **option)
    y = torch.arange(2) % classes if classes else None
    with torch.no_grad():
        x = generator(50 * torch.randn(2, 5), y)
        score = critic(x, y)
    assert x.shape == (2, channels, size, size)
    assert 0 < float(x.abs().max()) <= 1
    assert score.logit.shape == (2,)
    assert (generator.size, generator.channels, generator.classes, generator.latent) == (size, channels, classes, 5)
    h = critic.stem(x)
    for block in critic.blocks:
        h = block(h)
    assert h.shape[2:] == (4, 4)


@pytest.mark.parametrize("after", [8, 4])
@pytest.mark.parametrize("up", [False, True])
def test_generator_block_keeps_the_first_channels_in_its_shortcut(after: int, up: bool) -> None:
    block = UpBlock(8, after, up=up, norm=modulated, spectral=PLAIN).double().eval()
    assert [conv.weight.shape[:3] for conv in block.convs] == [(2, 8, 1), (2, 2, 3), (2, 2, 3), (after, 2, 1)]
    x, c = torch.randn(2, 8, 4, 4).double(), torch.randn(2, 3).double()
    kept = x.clone()
    norm, conv = block.norms, block.convs
    h = convolved(norm[0](x, c).clamp(min=0), conv[0])
    h = norm[1](h, c).clamp(min=0)
    h = convolved(doubled(h) if up else h, conv[1])
    h = convolved(norm[2](h, c).clamp(min=0), conv[2])
    h = convolved(norm[3](h, c).clamp(min=0), conv[3])
    shortcut = torch.stack([x[:, channel] for channel in range(after)], 1)
    torch.testing.assert_close(block(x, c), h + (doubled(shortcut) if up else shortcut))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("after", [4, 8])
@pytest.mark.parametrize("down", [False, True])
def test_critic_block_adds_channels_to_its_pooled_shortcut(after: int, down: bool) -> None:
    block = DownBlock(4, after, down=down, spectral=PLAIN).double()
    middle = after // 4
    assert [conv.weight.shape[:3] for conv in block.convs] == [
        (middle, 4, 1),
        (middle, middle, 3),
        (middle, middle, 3),
        (after, middle, 1),
    ]
    x = torch.randn(2, 4, 4, 4).double()
    kept = x.clone()
    h = x
    for conv in block.convs[:3]:
        h = convolved(h.clamp(min=0), conv)
    h = h.clamp(min=0)
    shortcut = x
    if down:
        h, shortcut = halved(h), halved(shortcut)
    out = block(x)
    assert out.shape == (2, after, *h.shape[2:])
    rest = out - convolved(h, block.convs[3])
    torch.testing.assert_close(rest[:, :4], shortcut)
    if after > 4:
        torch.testing.assert_close(rest[:, 4:], convolved(shortcut, block.more))
    else:
        assert block.more is None
    assert torch.equal(x, kept)


def test_first_and_second_derivatives_of_the_blocks_are_right() -> None:
    up = UpBlock(4, 2, up=True, norm=modulated, spectral=Spectral()).double()
    down = DownBlock(2, 4, down=True, spectral=Spectral()).double()
    x, c = torch.randn(2, 4, 2, 2).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()

    def call(x: Tensor, c: Tensor) -> Tensor:
        # Running statistics would otherwise move from one evaluation to the next.
        return down(copy.deepcopy(up)(x, c))

    assert torch.autograd.gradcheck(call, (x, c))
    assert torch.autograd.gradgradcheck(call, (x, c))


@pytest.mark.parametrize("classes", [0, 3])
def test_whole_latent_and_class_reach_the_seed_and_every_norm(classes: int) -> None:
    generator = create_generator("biggan-deep", size=32, channels=1, classes=classes, latent=5, width=4)
    norms = [norm for block in generator.blocks for norm in block.norms]
    assert len(norms) == 24
    width = 5 + (128 if classes else 0)
    assert generator.linear.in_features == width
    seen: list[Tensor] = []
    for norm in norms:
        assert norm.gain.weight.shape == norm.shift.weight.shape == (norm.num_features, width)
        assert norm.gain.bias is None
        norm.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    z, y = torch.randn(2, 5), torch.tensor([2, 0])
    generator(z, y)
    expected = torch.cat([z, generator.embedding(y)], 1) if classes else z
    assert len(seen) == 24
    assert all(torch.equal(c, expected) for c in seen)
    assert type(generator.norm) is BatchNorm2d


def test_attention_is_entered_with_64_pixels_in_the_generator_and_left_with_them_in_the_critic() -> None:
    shape = {"size": 128, "channels": 1, "classes": 0, "width": 1}
    generator, critic = create_generator("biggan-deep", **shape, latent=2), create_critic("biggan-deep", **shape)
    assert [i for i, layer in enumerate(generator.attention) if isinstance(layer, Attention)] == [7]
    assert [block.up for block in generator.blocks[6:9]] == [False, True, False]
    assert [i for i, layer in enumerate(critic.attention) if isinstance(layer, Attention)] == [1]
    assert [block.down for block in critic.blocks[:3]] == [True, False, True]
    seen = []
    for net in (generator, critic):
        for layer in net.attention:
            layer.register_forward_hook(
                lambda layer, args, _: seen.append(tuple(args[0].shape[1:])) if isinstance(layer, Attention) else None
            )
    with torch.no_grad():
        critic(generator(torch.randn(2, 2)))
    assert seen == [(2, 64, 64), (2, 64, 64)]


def test_spectral_norm_covers_all_but_the_class_embedding_of_the_generator() -> None:
    shape = {"size": 32, "channels": 1, "classes": 3, "width": 2}
    for net, free in (
        (create_generator("biggan-deep", **shape, latent=2), {"embedding"}),
        (create_critic("biggan-deep", **shape), set()),
    ):
        layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, SpectralNorm)}
        assert {name for name, layer in layers.items() if not layer.spectral_norm} == free


@pytest.mark.parametrize("classes", [0, 3])
def test_logit_of_an_image_does_not_depend_on_its_batch(classes: int) -> None:
    critic = create_critic("biggan-deep", size=32, channels=1, classes=classes, width=2).double().train()
    assert not has_batch_statistics(critic)
    x, y = torch.randn(3, 1, 32, 32).double(), torch.arange(3) if classes else None
    score = critic(x, y)
    alone = [critic(x[i : i + 1], None if y is None else y[i : i + 1]).logit for i in range(3)]
    torch.testing.assert_close(score.logit, torch.cat(alone))
    h = critic.stem(x)
    for block in critic.blocks:
        h = block(h)
    torch.testing.assert_close(score.features, 16 * h.clamp(min=0).mean((2, 3)))


def test_with_a_slope_of_one_the_critic_is_affine() -> None:
    """No ReLU, the head's included, is left without the slope: D((a + b)/2) = (D(a) + D(b))/2."""
    critic = create_critic("biggan-deep", size=32, channels=3, classes=0, width=4, slope=1.0).double()
    a, b = torch.randn(2, 5, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(critic((a + b) / 2).logit, (critic(a).logit + critic(b).logit) / 2)
    bent = create_critic("biggan-deep", size=32, channels=3, classes=0, width=4, slope=0.2).double()
    assert not torch.allclose(bent((a + b) / 2).logit, (bent(a).logit + bent(b).logit) / 2)


def test_the_slope_is_that_of_every_relu_of_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"size": 32, "channels": 3, "classes": 0, "latent": 8, "width": 4}
    leaky = create_generator("biggan-deep", **options, slope=0.2)
    plain = create_generator("biggan-deep", **options)
    plain.load_state_dict(leaky.state_dict())
    z = torch.randn(4, 8)
    with monkeypatch.context() as patched:
        patched.setattr(F, "relu", lambda x: torch.where(x > 0, x, 0.2 * x))
        expected = plain(z)
    torch.testing.assert_close(leaky(z), expected)
    assert not torch.allclose(plain(z), expected)


def test_errors_name_this_family() -> None:
    shape = {"size": 48, "channels": 1, "classes": 0, "width": 1}
    with pytest.raises(UserError, match="biggan-deep: size must be one of 32, 64, 128, 256, 512, got 48"):
        create_critic("biggan-deep", **shape)
    with pytest.raises(UserError, match="biggan-deep: attention is possible at sides 4, 8, 16, 32 here"):
        create_generator("biggan-deep", **{**shape, "size": 32}, latent=4, attention=64)
