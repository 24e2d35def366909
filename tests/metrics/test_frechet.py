from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from steadygan.metrics.frechet import Moments, frechet_distance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    m = Moments().update(x)
    return m.mean, m.cov


def test_distance_of_gaussians_with_commuting_covariances_is_the_closed_form() -> None:
    basis = torch.linalg.qr(normal(6, 6)).Q
    a, b = normal(6, seed=1).square(), normal(6, seed=2).square()
    mean1, mean2 = normal(6, seed=3), normal(6, seed=4)
    expected = (mean1 - mean2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    distance = frechet_distance(mean1, basis * a @ basis.mT, mean2, basis * b @ basis.mT)
    assert distance == pytest.approx(expected.item(), rel=1e-10)


def test_distance_equals_the_one_with_the_matrix_square_root_of_scipy() -> None:
    x, y = normal(200, 12) @ normal(12, 12, seed=1), normal(90, 12, seed=2) @ normal(12, 12, seed=3) + 1
    (mean1, cov1), (mean2, cov2) = moments(x), moments(y)
    root = scipy.linalg.sqrtm((cov1 @ cov2).numpy()).real
    expected = np.square((mean1 - mean2).numpy()).sum() + np.trace((cov1 + cov2).numpy() - 2 * root)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-6)


def test_distance_is_right_with_fewer_samples_than_features() -> None:
    x, y = normal(9, 30), 2 * normal(14, 30, seed=1) + 0.5
    a, b = (x - x.mean(0)) / 8**0.5, (y - y.mean(0)) / 13**0.5
    # With S₁ = aᵀa and S₂ = bᵀb, tr (S₁S₂)^½ is the nuclear norm of the small matrix a bᵀ.
    overlap = torch.linalg.matrix_norm(a @ b.mT, "nuc")
    expected = (x.mean(0) - y.mean(0)).square().sum() + a.square().sum() + b.square().sum() - 2 * overlap
    assert frechet_distance(*moments(x), *moments(y)) == pytest.approx(expected.item(), rel=1e-6)
    assert frechet_distance(*moments(x), *moments(x)) == pytest.approx(0, abs=1e-10)


def test_images_that_are_all_alike_have_a_distance() -> None:
    x = normal(9, 4)
    expected = x.var(0).sum() + x.mean(0).square().sum()
    assert frechet_distance(*moments(x), *moments(torch.zeros(3, 4))) == pytest.approx(expected.item())
    assert frechet_distance(*moments(torch.ones(3, 4)), *moments(torch.zeros(3, 4))) == pytest.approx(4)


def test_moments_are_numpys_however_the_samples_arrive() -> None:
    x = normal(101, 5) + 3
    whole, parts = Moments().update(x.float()), Moments()
    for chunk in x.float().split(17):
        parts.merge(Moments().update(chunk))
    np.testing.assert_allclose(whole.cov, np.cov(x.float().double().numpy(), rowvar=False), rtol=1e-10)
    torch.testing.assert_close(parts.cov, whole.cov, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-12)
    assert parts.count == 101
    assert Moments().merge(Moments()).count == 0


def test_too_few_samples_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        _ = Moments().update(normal(1, 4)).cov
    with pytest.raises(ValueError, match="3 features added to moments of 4"):
        Moments().update(normal(2, 4)).update(normal(2, 3))
    with pytest.raises(ValueError, match="with one F"):
        frechet_distance(*moments(normal(9, 4)), *moments(normal(9, 3)))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(normal(2) * torch.nan, torch.eye(2), normal(2), torch.eye(2))
