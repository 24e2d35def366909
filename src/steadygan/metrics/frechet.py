"""Fréchet distance between Gaussians fitted to two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of features that arrive in batches, from float64 sums: count, Σx (F,), Σxxᵀ (F, F)."""

    def __init__(self, count: int = 0, total: Tensor | None = None, outer: Tensor | None = None) -> None:
        self.count = count
        self.total = torch.zeros(0, dtype=torch.float64) if total is None else total
        self.outer = torch.zeros(0, 0, dtype=torch.float64) if outer is None else outer

    def update(self, features: Tensor) -> Moments:
        """Adds a batch (N, F) and returns self. Raises ValueError if F changes."""
        x = features.detach().to("cpu", torch.float64)
        if x.ndim != 2:
            raise ValueError(f"features must be (N, F), not {tuple(x.shape)}")
        return self._add(len(x), x.sum(0), x.mT @ x)

    def merge(self, other: Moments) -> Moments:
        """Adds the sums of `other`, e.g. from another process, and returns self."""
        return self._add(other.count, other.total, other.outer) if other.count else self

    def _add(self, count: int, total: Tensor, outer: Tensor) -> Moments:
        if self.count and len(total) != len(self.total):
            raise ValueError(f"{len(total)} features added to moments of {len(self.total)}")
        self.total = self.total + total if self.count else total.clone()
        self.outer = self.outer + outer if self.count else outer.clone()
        self.count += count
        return self

    @property
    def mean(self) -> Tensor:
        """(F,) float64."""
        self._require_two()
        return self.total / self.count

    @property
    def cov(self) -> Tensor:
        """(F, F) float64, the unbiased estimate (divided by N - 1)."""
        mean = self.mean
        return (self.outer - self.count * torch.outer(mean, mean)) / (self.count - 1)

    def _require_two(self) -> None:
        if self.count < 2:
            raise ValueError(f"a mean and covariance need at least 2 samples, got {self.count}")


def _root(cov: Tensor) -> Tensor:
    """L (F, R) with L Lᵀ = cov; drops eigenvalues that are 0 or, from rounding, negative."""
    values, vectors = torch.linalg.eigh(cov)
    positive = values > 0
    return vectors[:, positive] * values[positive].sqrt()


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """‖μ₁ − μ₂‖² + tr(S₁ + S₂ − 2 (S₁S₂)^½) in float64, ≥ 0.

    Dowson & Landau, The Fréchet distance between multivariate normal distributions, 1982, eq. 4; as a score of
    generators: Heusel et al., NeurIPS 2017, eq. 6. With S₁ = L₁L₁ᵀ and S₂ = L₂L₂ᵀ, tr (S₁S₂)^½ is the sum of the
    singular values of L₁ᵀL₂, which are the square roots of the eigenvalues of S₁S₂. They stay exact to rounding if S₁S₂
    is singular (fewer samples than features), whereas √ turns an eigenvalue's error of 1e-16 into 1e-8.

    Args:
        mean1: (F,), μ₁.
        cov1: (F, F), S₁, symmetric.
        mean2: (F,), μ₂.
        cov2: (F, F), S₂, symmetric.

    Raises:
        ValueError: the shapes do not match, or a value is not finite.
    """
    f = len(mean1)
    if mean1.shape != (f,) or mean2.shape != (f,) or cov1.shape != (f, f) or cov2.shape != (f, f):
        shapes = ", ".join(str(tuple(x.shape)) for x in (mean1, cov1, mean2, cov2))
        raise ValueError(f"means must be (F,) and covariances (F, F) with one F, not {shapes}")
    mean1, cov1, mean2, cov2 = (x.detach().to("cpu", torch.float64) for x in (mean1, cov1, mean2, cov2))
    if not all(x.isfinite().all() for x in (mean1, cov1, mean2, cov2)):
        raise ValueError("the moments contain NaN or infinity")
    overlap = torch.linalg.svdvals(_root(cov1).mT @ _root(cov2)).sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap
    return max(distance.item(), 0.0)
