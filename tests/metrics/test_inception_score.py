"""The Inception score and the kernel distance, from closed forms; against other packages in test_inception.py."""

from __future__ import annotations

import pytest
import torch

from steadygan.metrics.inception_score import inception_score
from steadygan.metrics.kid import kernel_distance
from steadygan.runs.reading import cost


def test_sure_and_balanced_answers_score_the_number_of_classes_and_collapse_scores_one() -> None:
    sure = 100 * torch.eye(10).repeat(20, 1)
    assert inception_score(sure, splits=1) == pytest.approx((10, 0))
    assert inception_score(sure[:1].repeat(50, 1), splits=5) == pytest.approx((1, 0))
    assert inception_score(torch.zeros(50, 10), splits=5) == pytest.approx((1, 0))


def test_classes_that_no_image_shows_change_nothing() -> None:
    sure = torch.cat([1000 * torch.eye(10), torch.full((10, 3), -1000.0)], 1)
    assert inception_score(sure, splits=1) == pytest.approx((10, 0))


def test_score_of_two_kinds_of_image_is_the_exponential_of_their_divergence() -> None:
    p = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
    divergence = 0.9 * torch.tensor(0.9 / 0.5).log() + 0.1 * torch.tensor(0.1 / 0.5).log()
    assert inception_score(p.log().repeat(30, 1), splits=1)[0] == pytest.approx(divergence.exp().item())


def test_images_made_class_by_class_are_shuffled_before_they_are_split() -> None:
    sorted_by_class = 100 * torch.eye(10).repeat_interleave(100, dim=0)
    assert inception_score(sorted_by_class, splits=10)[0] > 9


def test_a_split_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="N ≥ 10 splits"):
        inception_score(torch.zeros(9, 10))


def test_kernel_distance_of_single_features_is_the_closed_form() -> None:
    """x = 0 or 1, y = a: k(x, x') = 1, 1, 8 and k(y, y') = (a² + 1)³, k(x, y) = 1 or (a + 1)³."""
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [2.0]])
    expected = 1 + 5**3 - 2 * (1 + 3**3) / 2
    assert kernel_distance(x, y, subsets=1, subset_size=2) == pytest.approx((expected, 0))


def test_kernel_distance_is_unbiased_and_grows_with_the_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 600, 4, generator=generator)
    values = [kernel_distance(a, b + shift, subsets=30, subset_size=200)[0] for shift in (0, 0.1, 0.3, 1)]
    assert values == sorted(values)
    assert abs(values[0]) < 0.1 * values[2]
    with pytest.raises(ValueError, match="subsets of 700"):
        kernel_distance(a, b, subset_size=700)


def test_every_score_has_a_known_good_direction_and_spreads_have_none() -> None:
    lower = ("FID", "KID", "FD-squeezenet", "KD-dinov2", "FD-inception-12345678", "kl")
    higher = ("IS", "IS-squeezenet", "precision", "recall", "density", "coverage", "class_agreement", "modes")
    assert all((cost(name, 2.0) or 0) > (cost(name, 1.0) or 0) for name in lower)
    assert all((cost(name, 2.0) or 0) < (cost(name, 1.0) or 0) for name in higher)
    assert cost("IS_std", 1.0) is None
    assert cost("KD-squeezenet_std", 1.0) is None
