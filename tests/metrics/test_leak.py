"""The leak meter measures a known share of augmented fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.data.digits import digits
from steadygan.errors import UserError
from steadygan.metrics.leak import LeakMeter, as_scores, prepared, untold
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import POLICIES

CUTOUT = Consistency(flip=0, shift=0, cutout=0.5)
AUGMENTATIONS = {"cutout": CUTOUT, "translation": POLICIES["translation"]}


def reals() -> tuple[Tensor, Tensor, Tensor]:
    """Digits, shuffled: for training, held out, and for the fakes."""
    images = torch.from_numpy(digits(32)[0])
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return images[:900], images[900:1300], images[1300:]


@pytest.fixture(scope="module")
def meter() -> LeakMeter:
    train, held_out, _ = reals()
    return LeakMeter(train, held_out, AUGMENTATIONS, steps=150)


def leaking(share: float, name: str) -> Tensor:
    """Reals, each four times, of which the first `share` have the augmentation applied, uint8."""
    images = reals()[2].repeat(4, 1, 1, 1)
    count = round(share * len(images))
    x = images.float() / 127.5 - 1
    if count:
        x[:count] = prepared(AUGMENTATIONS[name](x[:count], torch.Generator().manual_seed(1)))
    return ((x + 1) * 127.5).round().to(torch.uint8)


@pytest.mark.parametrize("name", ["cutout", "translation"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 1.0])
def test_a_known_share_of_augmented_reals_lies_in_the_interval(meter: LeakMeter, name: str, share: float) -> None:
    leak = meter.measure(leaking(share, name))[name].leak
    assert leak is not None
    assert leak.low <= share <= leak.high
    assert leak.high - leak.low < 0.15
    assert abs(leak.value - share) < 0.06


def test_the_meter_says_which_augmentation_leaks(meter: LeakMeter) -> None:
    scores = as_scores(meter.measure(leaking(1.0, "cutout")))
    assert scores["leak_cutout_low"] > 0.9
    assert scores["leak_translation_high"] < 0.15


def blurred(images: Tensor) -> Tensor:
    taps = torch.tensor([1, 4, 6, 4, 1]) / 16
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded, torch.outer(taps, taps)[None, None]).round().to(torch.uint8)


def noisy(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 40 * noise).clamp(0, 255).round().to(torch.uint8)


@pytest.mark.parametrize("flaw", [blurred, noisy])
def test_images_that_are_merely_bad_do_not_leak(flaw: Callable[[Tensor], Tensor]) -> None:
    """A reader that saw only sharp and clean images found shifts in half of these and cutout in all noisy ones."""
    train, held_out, fakes = reals()
    shift = Consistency(flip=0, shift=0.125, cutout=0)
    leaks = LeakMeter(train, held_out, {"shift": shift, "cutout": CUTOUT}, steps=150).measure(flaw(fakes))
    for found in leaks.values():
        assert found.leak is not None
        assert found.leak.value < 0.08


def test_reading_moves_neither_the_meter_nor_torch() -> None:
    train, held_out, fakes = reals()
    before = torch.get_rng_state()
    meters = [LeakMeter(train, held_out, {"cutout": CUTOUT}, steps=3) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    first = meters[0].measure(fakes)
    assert first == meters[0].measure(fakes) == meters[1].measure(fakes)


def test_an_augmentation_that_does_not_show_is_not_told() -> None:
    train, held_out, fakes = reals()
    leaks = LeakMeter(train, held_out, {"nothing": lambda x, generator: x}, steps=20).measure(fakes)
    assert leaks["nothing"].leak is None
    assert untold(leaks) == ["nothing"]
    assert as_scores(leaks) == {}


def test_large_images_are_read_reduced() -> None:
    assert prepared(torch.zeros(2, 3, 128, 128)).shape == (2, 3, 64, 64)
    assert prepared(torch.full((1, 1, 32, 32), 1.7)).max() == 1


def test_a_meter_without_augmentations_or_held_out_images_says_what_is_missing() -> None:
    train, held_out, _ = reals()
    with pytest.raises(UserError, match="no augmentation"):
        LeakMeter(train, held_out, {})
    with pytest.raises(UserError, match="20 held-out images or more; there are 5"):
        LeakMeter(train, held_out[:5], AUGMENTATIONS)
