"""Whether samples are copies of training images: nearer to one than reals are to each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.metrics.intervals import Count, Estimate, wilson
from steadygan.metrics.neighbours import nearest

QUANTILE = 0.01
"""The share of the reals that counts as copies of other reals; it is subtracted from that of the samples."""
QUERIES = 2000
"""Most reals whose nearest other real is looked for."""


class Memorised(NamedTuple):
    """share: of samples that are copies, beyond the 1 % of reals that would be; copies: which, and of which image.

    copies (C, 2) int64: a sample's and its training image's number, the nearest first. threshold: the distance below
    which a sample is a copy; expected: the median distance of a real to its nearest other.
    """

    share: Estimate
    copies: Tensor
    threshold: float
    expected: float


def memorised(samples: Tensor, train: Tensor, *, seed: int = 0) -> Memorised:
    """Samples (N, F) nearer to a training image (M, F) than all but 1 % of the training images are to another one.

    F are features, or pixels; M ≥ 3. Images that are there twice (at distance 0) are no neighbours of each other: a
    data set with duplicates would otherwise call nothing a copy. A generator that has learnt the distribution and not
    the images has a share near 0, as held-out reals have.
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
    """The distance of each of these training images to the nearest that differs from it, infinite without any."""
    best = torch.full((len(queries),), torch.inf)
    for part in train.split(4096):
        distances = torch.cdist(queries, part, compute_mode="donot_use_mm_for_euclid_dist")
        best = torch.minimum(best, distances.masked_fill(distances == 0, torch.inf).amin(1))
    return best


def as_scores(found: Memorised) -> dict[str, float]:
    """`copies`, `copies_low` and `copies_high`, as scores."""
    value, low, high = (round(number, 4) for number in found.share)
    return {"copies": value, "copies_low": low, "copies_high": high}
