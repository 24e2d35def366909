from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.data.digits import digits, stacked_digits
from steadygan.metrics.modes import (
    class_agreement,
    class_spread,
    intra_class_diversity,
    mean_pairwise_distance,
    stacked_modes,
)
from steadygan.pretrained.extractor import Features
from steadygan.pretrained.registry import get_extractor


@pytest.fixture(scope="module")
def reals() -> tuple[Features, Tensor]:
    images, labels = (torch.from_numpy(array) for array in digits())
    return get_extractor("digits")(images), labels


def one_hot(modes: Tensor) -> Tensor:
    """Logits (N, 3, 10) of a confident classifier."""
    return F.one_hot(torch.stack([modes // 100, modes // 10 % 10, modes % 10], dim=1), 10).float()


def test_real_digits_are_read_as_their_labels(reals: tuple[Features, Tensor]) -> None:
    features, labels = reals
    assert class_agreement(features.logits, labels) >= 0.98
    assert class_agreement(features.logits, (labels + 1) % 10) <= 0.02


def test_diversity_is_one_for_the_reals_and_zero_for_one_image_a_class(
    reals: tuple[Features, Tensor],
) -> None:
    features, labels = reals[0].features, reals[1]
    first = torch.stack([features[labels == label][0] for label in range(10)])
    assert intra_class_diversity(features, labels, features, labels) == pytest.approx(1, abs=1e-12)
    assert intra_class_diversity(first[labels], labels, features, labels) == 0
    assert intra_class_diversity(features / 2, labels, features, labels) == pytest.approx(0.5)


def test_pairwise_distance_in_chunks_is_that_of_all_pairs() -> None:
    x = torch.randn(23, 5, generator=torch.Generator().manual_seed(0))
    assert mean_pairwise_distance(x, chunk=4) == pytest.approx(torch.pdist(x.double()).mean().item())


def test_diversity_sees_distances_far_below_the_features_themselves() -> None:
    x = torch.full((40, 8), 1e3)
    x[::2, 0] += 0.5
    assert mean_pairwise_distance(x) == pytest.approx(0.5 * 20 * 20 / (40 * 39 / 2))


def test_a_class_with_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 samples"):
        class_spread(torch.zeros(5, 3), torch.tensor([0, 0, 1, 2, 2]), 3)
    labels = torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match="class 1 are the same"):
        intra_class_diversity(torch.eye(4), labels, torch.eye(4)[[0, 1, 2, 2]], labels)


def test_mode_coverage_of_stacked_reals_is_nearly_complete() -> None:
    images, modes = (torch.from_numpy(array) for array in stacked_digits(count=8_000, seed=1))
    logits = get_extractor("digits")(images.reshape(-1, 1, 32, 32)).logits.reshape(-1, 3, 10)
    coverage = stacked_modes(logits)
    assert coverage.modes >= 995
    assert coverage.kl == pytest.approx(999 / 2 / 8_000, abs=0.02)
    counts = torch.bincount(modes, minlength=1000) + 1
    assert stacked_modes(logits, counts).kl < 0.01


def test_divergence_is_zero_for_all_modes_alike_and_ln_1000_for_one_mode() -> None:
    all_modes = stacked_modes(one_hot(torch.arange(1000).repeat(3)))
    assert all_modes == (1000, pytest.approx(0, abs=1e-12))
    assert stacked_modes(one_hot(torch.full((7,), 123))) == (1, pytest.approx(math.log(1000)))
    only_123 = F.one_hot(torch.tensor(123), 1000)
    assert stacked_modes(one_hot(torch.full((7,), 123)), only_123).kl == 0
    assert stacked_modes(one_hot(torch.tensor([123, 124])), only_123).kl == math.inf
