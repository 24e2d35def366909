"""Precision, recall, density and coverage: pure functions of two sets of features, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 1024


class PRDC(NamedTuple):
    """Values in [0, 1], except `density`, which may exceed 1. Equal distributions have density and coverage of about
    1."""

    precision: float
    recall: float
    density: float
    coverage: float


def radii(x: Tensor, k: int, chunk: int = CHUNK) -> Tensor:
    """Distance of each row of x (N, F) to its k-th nearest other row, (N,), in memory of order chunk · N."""
    nearest = [torch.cdist(rows, x).topk(k + 1, largest=False).values[:, k] for rows in x.split(chunk)]
    return torch.cat(nearest)


def prdc(reals: Tensor, fakes: Tensor, k: int = 5, *, chunk: int = CHUNK, device: str | torch.device = "cpu") -> PRDC:
    """Precision, recall, density and coverage of features, from balls whose radius is the distance to the k-th
    neighbour.

    Kynkäänniemi et al., NeurIPS 2019, eq. 1-2; Naeem et al., ICML 2020, eq. 6-7. Precision: fraction of fakes in the
    ball of some real; recall: fraction of reals in the ball of some fake; density: mean number of reals' balls that
    contain a fake, ÷ k; coverage: fraction of reals with a fake in their ball. Distances are float32.

    Args:
        reals: (N, F).
        fakes: (M, F).
        k: the neighbour that sets a ball's radius.
        chunk: reals compared at a time.
        device: the device for distances.

    Raises:
        ValueError: a side has k or fewer rows.
    """
    if reals.ndim != 2 or reals.shape[1:] != fakes.shape[1:] or min(len(reals), len(fakes)) <= k or k < 1:
        raise ValueError(f"features must be (N, F) and (M, F) with N, M > {k}: {reals.shape} and {fakes.shape}")
    # Distances by matrix product lose digits that all rows share, so subtract the common part.
    centre = reals.double().mean(0)
    reals, fakes = ((side.double() - centre).float().to(device) for side in (reals, fakes))
    real_radii, fake_radii = radii(reals, k, chunk), radii(fakes, k, chunk)
    balls = torch.zeros(len(fakes), dtype=torch.int64, device=device)
    recalled, covered = 0, 0
    for rows, reach in zip(reals.split(chunk), real_radii.split(chunk), strict=True):
        distance = torch.cdist(rows, fakes)
        inside = distance <= reach[:, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((distance <= fake_radii).any(1).sum())
    return PRDC(
        precision=(balls > 0).double().mean().item(),
        recall=recalled / len(reals),
        density=balls.double().mean().item() / k,
        coverage=covered / len(reals),
    )
