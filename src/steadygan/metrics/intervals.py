"""Fractions of images with confidence intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Z = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""
DRAWS = 20_000
LEAST_SKILL = 0.1
"""Minimum difference between a reader's true and false positive rates for a usable estimate."""


class Estimate(NamedTuple):
    """A fraction in [0, 1] and its 95 % interval."""

    value: float
    low: float
    high: float


class Count(NamedTuple):
    """`hits` among `of` images."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        return self.hits / self.of


def wilson(count: Count) -> Estimate:
    """The fraction of hits with Wilson's score interval (Wilson, JASA 1927), which is also valid at 0 and 1."""
    p, n = count.share, count.of
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))


def adjusted(found: Count, false: Count, true: Count, seed: int = 0) -> Estimate | None:
    """Estimates the true fraction of images with a property from the detections of an imperfect reader.

    (p - fpr) / (tpr - fpr), clipped to [0, 1] (adjusted count, Forman, "Quantifying counts and costs", DMKD 2008).
    The interval samples each of the three fractions from its posterior under Jeffreys' prior, so that it includes the
    uncertainty of the reader's error rates.

    Args:
        found: detections in the images of interest.
        false: detections in images without the property.
        true: detections in images with the property.
        seed: seed of the samples.

    Returns:
        The estimate; None if the reader is near chance.
    """
    skill = true.share - false.share
    if skill < LEAST_SKILL:
        return None
    generator = np.random.default_rng(seed)
    p, fpr, tpr = (generator.beta(c.hits + 0.5, c.of - c.hits + 0.5, DRAWS) for c in (found, false, true))
    drawn = np.clip((p - fpr) / np.maximum(tpr - fpr, LEAST_SKILL / 2), 0, 1)
    value = min(1.0, max(0.0, (found.share - false.share) / skill))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, min(value, float(low)), max(value, float(high)))
