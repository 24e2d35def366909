"""Memorisation: samples closer to a training image than training images are to each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.metrics.intervals import Count, Estimate, wilson
from steadygan.metrics.neighbours import nearest

QUANTILE = 0.01
"""Fraction of reals that the threshold counts as copies of other reals; subtracted from the samples' fraction."""
QUERIES = 2000
"""Maximum number of reals whose nearest other real is searched."""


class Memorised(NamedTuple):
    """The samples that are copies of training images.

    Attributes:
        share: fraction of samples that are copies, minus the 1 % expected of reals.
        copies: (C, 2) int64, indices of samples and of their training images, nearest first.
        threshold: the distance below which a sample is a copy.
        expected: the median distance of a real to its nearest other real.
    """

    share: Estimate
    copies: Tensor
    threshold: float
    expected: float


def memorised(samples: Tensor, train: Tensor, *, seed: int = 0) -> Memorised:
    """Finds samples (N, F) closer to a training image (M, F) than 99 % of the training images are to another one.

    F are features or pixels; M ≥ 3. Duplicates (distance 0) do not count as neighbours, as otherwise nothing would be a
    copy in a data set with duplicates. A generator that has learnt the distribution has a share near 0, like held-out
    reals.

    Raises:
        ValueError: all training images are equal.
    """
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:QUERIES]
    between = torch.cat([_to_another(part, train) for part in train[order].split(256)])
    between = between[between.isfinite()]
    if not len(between):
        raise ValueError("all training images are the same")
    threshold = float(between.quantile(QUANTILE))
    distances, indices = nearest(samples, train.split(4096), 1)
    found = (distances[:, 0] < threshold).nonzero()[:, 0]
    found = found[distances[found, 0].argsort(stable=True)]
    copies = torch.stack([found, indices[found, 0]], 1)
    share = wilson(Count(len(found), len(samples)))
    beyond = Estimate(*(max(0.0, (p - QUANTILE) / (1 - QUANTILE)) for p in share))
    return Memorised(beyond, copies, threshold, float(between.median()))


def _to_another(queries: Tensor, train: Tensor) -> Tensor:
    """The distance of each training image to its nearest different one; infinite if there is none."""
    best = torch.full((len(queries),), torch.inf)
    for part in train.split(4096):
        distances = torch.cdist(queries, part, compute_mode="donot_use_mm_for_euclid_dist")
        best = torch.minimum(best, distances.masked_fill(distances == 0, torch.inf).amin(1))
    return best


def as_scores(found: Memorised) -> dict[str, float]:
    """Scores `copies`, `copies_low` and `copies_high`."""
    value, low, high = (round(number, 4) for number in found.share)
    return {"copies": value, "copies_low": low, "copies_high": high}
