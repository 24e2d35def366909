"""FastGAN's networks: the public code's sizes, two scales, excitation, reconstructions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from steadygan.errors import UserError
from steadygan.nets.fastgan import Excitation, Noise, quarters_of
from steadygan.nets.registry import count_parameters, create_critic, create_generator

TINY: dict[str, Any] = {"channels": 3, "classes": 0, "width": 4}


def test_the_networks_of_256_have_the_public_codes_number_of_parameters() -> None:
    shape: dict[str, Any] = {"size": 256, "channels": 3, "classes": 0, "width": 64}
    with torch.device("meta"):
        counts = count_parameters(create_generator("fastgan", **shape, latent=256))
        assert (counts, count_parameters(create_critic("fastgan", **shape))) == (29_127_846, 11_526_160)


@pytest.mark.parametrize(("size", "small"), [(64, 32), (128, 64), (256, 128)])
def test_an_image_is_made_and_judged_at_two_scales(size: int, small: int) -> None:
    generator = create_generator("fastgan", size=size, latent=5, **TINY)
    critic = create_critic("fastgan", size=size, **TINY)
    with torch.no_grad():
        generator.eval()
        z = torch.randn(2, 5)
        image, smaller = generator(z, scales=True)
        assert torch.equal(generator(z), image)
        assert (image.shape, smaller.shape) == ((2, 3, size, size), (2, 3, small, small))
        assert critic(image).logit.shape == (2, 1, 5, 5)
        assert critic(smaller).logit.shape == (2, 1, 5, 5)


def test_the_critics_of_the_two_scales_share_nothing() -> None:
    critic = create_critic("fastgan", size=64, **TINY)
    reached = []
    for side in (64, 32):
        critic.zero_grad()
        critic(torch.randn(2, 3, side, side)).logit.sum().backward()
        reached.append({name for name, p in critic.named_parameters() if p.grad is not None and p.grad.any()})
    assert reached[0]
    assert reached[1]
    assert not reached[0] & reached[1]


def test_excitation_scales_whole_channels_by_less_than_one() -> None:
    excite, fine = Excitation(3, 5), torch.rand(2, 5, 8, 8) + 1
    with torch.no_grad():
        ratio = excite(torch.randn(2, 3, 4, 4), fine) / fine
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    assert 0 < float(ratio.min()) < float(ratio.max()) < 1


def test_noise_has_no_strength_at_first_and_rests_in_evaluation() -> None:
    noise, x = Noise(4), torch.randn(2, 3, 4, 4)
    assert torch.equal(noise(x), x)
    torch.nn.init.ones_(noise.strength)
    assert not torch.equal(noise(x), noise(x))
    noise.eval()
    assert torch.equal(noise(x), noise(x))


def test_reconstructions_are_of_the_quarter_that_is_asked_for() -> None:
    critic = create_critic("fastgan", size=64, **TINY).eval()
    x, small = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        made = [critic.reconstruct(x, small, torch.tensor([k])) for k in range(4)]
    assert all(image.shape == (2, 3, 64, 64) and image.abs().max() <= 1 for image in made[0])
    assert all(torch.equal(made[0].whole, other.whole) for other in made)
    assert not any(torch.equal(made[0].quarter, other.quarter) for other in made[1:])
    top, left = quarters_of(x)[1], quarters_of(x)[2]
    assert torch.equal(top, x[..., :32, 32:])
    assert torch.equal(left, x[..., 32:, :32])


@pytest.mark.parametrize(("size", "side"), [(64, 64), (128, 128), (256, 128)])
def test_a_reconstruction_is_no_larger_than_the_image_nor_than_the_codes(size: int, side: int) -> None:
    critic = create_critic("fastgan", size=size, **TINY).eval()
    with torch.no_grad():
        made = critic.reconstruct(
            torch.zeros(1, 3, size, size), torch.zeros(1, 3, size // 2, size // 2), torch.tensor([0])
        )
    assert {image.shape[-1] for image in made} == {side}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 96}, "fastgan: size must be one of 64"), ({"size": 64, "classes": 3}, "this backbone is unconditional")],
)
def test_what_is_impossible_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_critic("fastgan", **{**TINY, **options})
