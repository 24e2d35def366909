"""Copies of training images among samples are found; samples of the distribution are not reported as copies."""

from __future__ import annotations

import pytest
import torch

from steadygan.data.digits import digits
from steadygan.metrics.memorisation import as_scores, memorised
from steadygan.pretrained.registry import get_extractor


def normal(count: int, seed: int, features: int = 8) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed))


def test_samples_of_the_distribution_are_no_copies() -> None:
    found = memorised(normal(600, 1), normal(600, 0))
    assert found.share.low == 0
    assert found.share.value < 0.02


@pytest.mark.parametrize("planted", [0.05, 0.3, 1.0])
def test_planted_copies_are_counted_and_named(planted: float) -> None:
    train, samples = normal(600, 0), normal(400, 1)
    count = round(planted * len(samples))
    samples[:count] = train[100 : 100 + count] + 1e-3 * normal(count, 2)
    found = memorised(samples, train)
    assert found.share.low <= planted <= found.share.high + 0.01
    named = {tuple(pair) for pair in found.copies.tolist()}
    assert {(k, 100 + k) for k in range(count)} <= named


def test_duplicates_among_the_training_images_hide_no_copies() -> None:
    train = normal(300, 0)
    samples = normal(100, 1)
    samples[:20] = train[:20]
    found = memorised(samples, torch.cat([train, train]))
    assert found.threshold > 0
    assert len(found.copies) >= 20
    assert as_scores(found)["copies_low"] > 0.05


def test_copies_of_digits_are_found_through_the_extractors_features() -> None:
    images = torch.from_numpy(digits(32)[0])
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, held_out = images[:1200], images[1200:1500]
    noise = torch.randint(-3, 4, (60, 1, 32, 32), generator=torch.Generator().manual_seed(1))
    copied = (train[:60] + noise).clamp(0, 255).to(torch.uint8)
    extractor = get_extractor("digits")
    known = extractor(train).features
    assert memorised(extractor(held_out).features, known).share.low == 0
    planted = torch.cat([copied, held_out[:240]])
    found = memorised(extractor(planted).features, known)
    assert found.share.low <= 0.2 <= found.share.high + 0.02
    assert {pair[0] for pair in found.copies.tolist()} >= set(range(60))


def test_a_set_of_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="all training images are the same"):
        memorised(normal(3, 0), torch.ones(4, 8))
