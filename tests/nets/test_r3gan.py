"""R3GAN's networks: published sizes, the initialisation, resampling, conditioning."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from steadygan.errors import UserError
from steadygan.nets.r3gan import GAIN, DownLayer, ResidualBlock, UpLayer, stage_widths
from steadygan.nets.registry import count_parameters, create_critic, create_generator

pytestmark = pytest.mark.usefixtures("float64")

TINY: dict[str, Any] = {"channels": 3, "width": 2, "groups": 4}

# Counted in the authors' code (brownvc/R3GAN) for its configurations: size, width, classes, options, G, D.
PUBLISHED = {
    "CIFAR-10": (32, 48, 10, {}, 20_781_952, 21_280_512),
    "FFHQ-64": (64, 48, 0, {}, 22_429_824, 22_381_440),
    "FFHQ-256": (256, 48, 0, {}, 23_057_952, 23_009_568),
    "ImageNet-32": (32, 96, 1000, {}, 82_914_304, 86_548_992),
    "ImageNet-64": (64, 96, 1000, {"full": 64}, 103_570_432, 107_205_120),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_the_published_number_of_parameters(name: str) -> None:
    size, width, classes, options, generator, critic = PUBLISHED[name]
    shape: dict[str, Any] = {"size": size, "channels": 3, "classes": classes, "width": width, **options}
    with torch.device("meta"):
        counts = [count_parameters(net) for net in (create_generator("r3gan", **shape, latent=64),)]
        counts += [count_parameters(create_critic("r3gan", **shape))]
    assert counts == [generator, critic]


def test_channels_are_halved_at_each_doubling_beyond_the_full_side() -> None:
    assert stage_widths(256, 48, 32) == [768, 768, 768, 768, 384, 192, 96]
    assert stage_widths(64, 96, 64) == [1536] * 5


@pytest.mark.parametrize(("size", "classes"), [(8, 0), (64, 3)])
def test_networks_make_and_score_images(size: int, classes: int) -> None:
    shape = {**TINY, "size": size, "classes": classes}
    generator, critic = create_generator("r3gan", **shape, latent=5), create_critic("r3gan", **shape)
    y = torch.tensor([0, 2, 1]) if classes else None
    x = generator(torch.randn(3, 5), y)
    score = critic(x, y)
    assert x.shape == (3, 3, size, size)
    assert score.logit.shape == (3,)
    assert score.features.shape == (3, 32)
    if y is not None:
        assert not torch.equal(critic(x, y.flip(0)).logit, score.logit)
        mixed = F.one_hot(y, classes).double()
        torch.testing.assert_close(critic(x, mixed).logit, score.logit)


def test_a_fresh_block_is_the_identity_and_its_branch_has_the_scale_of_its_depth() -> None:
    block = ResidualBlock(256, 4, 2, blocks=16)
    x = torch.randn(2, 256, 3, 3)
    assert torch.equal(block(x), x)
    scale = GAIN * 16**-0.25
    assert float(block.conv1.weight.detach().std()) == pytest.approx(scale / math.sqrt(256), rel=0.02)
    assert float(block.conv2.weight.detach().std()) == pytest.approx(scale / math.sqrt(128 * 9), rel=0.02)


def test_resampling_is_bilinear() -> None:
    x = torch.randn(2, 3, 6, 6)
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(UpLayer(3, 3)(x)[..., 1:-1, 1:-1], doubled[..., 1:-1, 1:-1])
    binomial = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])).expand(3, 1, 3, 3) / 16
    smoothed = F.conv2d(F.avg_pool2d(x, 2, 1), binomial, groups=3)
    torch.testing.assert_close(DownLayer(3, 3)(x)[..., 1:-1, 1:-1], smoothed[..., 1::2, 1::2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 48}, "r3gan: size must be one of 8, 16, 32"),
        ({"size": 8, "groups": 7}, "do not split into 7 groups"),
        ({"size": 8, "full": 2}, "full must be at least 4"),
    ],
)
def test_what_is_impossible_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_critic("r3gan", **{**TINY, "classes": 0, **options})
