"""Shares of images, with the interval in which they lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Z = 1.959964
"""Of a standard normal variable 95 % lie within ± this."""
DRAWS = 20_000
LEAST_SKILL = 0.1
"""Least difference of a reader's true and false positive rates; one below it tells nothing."""


class Estimate(NamedTuple):
    """A share in [0, 1] and its interval of 95 %."""

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
    """The share of hits with Wilson's score interval (Wilson, JASA 1927), which is sound at 0 and at 1 too."""
    p, n = count.share, count.of
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))


def adjusted(found: Count, false: Count, true: Count, seed: int = 0) -> Estimate | None:
    """The share that really has a property, of images among which an imperfect reader found some.

    (p - fpr) / (tpr - fpr), clipped to [0, 1] (adjusted count, Forman, "Quantifying counts and costs", DMKD 2008).
    The interval is that of the ratio when each of the three shares is drawn from its posterior under Jeffreys' prior,
    so that it includes the reader's own uncertainty.

    Args:
        found: what the reader found among the images in question.
        false: what it found among images without the property.
        true: what it found among images with it.
        seed: of the draws.

    Returns:
        None for a reader that tells next to nothing.
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
