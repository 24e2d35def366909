"""Intervals of shares: closed forms, and the share of times that they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from steadygan.metrics.intervals import Count, adjusted, wilson


def test_wilsons_interval_solves_its_equation() -> None:
    """At both ends, (p - w)² = z² w (1 - w) / n."""
    p, low, high = wilson(Count(7, 50))
    assert p == 0.14
    for w in (low, high):
        assert (p - w) ** 2 == pytest.approx(1.959964**2 * w * (1 - w) / 50)


def test_wilsons_interval_says_something_at_none_and_at_all() -> None:
    assert wilson(Count(0, 100)).low == 0
    assert 0.03 < wilson(Count(0, 100)).high < 0.04
    assert wilson(Count(100, 100)).high == 1


def test_an_adjusted_share_undoes_the_readers_mistakes() -> None:
    found = adjusted(Count(260, 1000), Count(100, 1000), Count(900, 1000))
    assert found is not None
    assert found.value == pytest.approx(0.2)
    assert found.low < 0.2 < found.high


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_an_adjusted_interval_holds_the_truth_about_as_often_as_it_says(share: float) -> None:
    generator = np.random.default_rng(0)
    false, true, held = 0.08, 0.85, 0
    for trial in range(200):
        found = generator.binomial(400, share * true + (1 - share) * false)
        counts = (
            Count(found, 400),
            Count(generator.binomial(150, false), 150),
            Count(generator.binomial(150, true), 150),
        )
        interval = adjusted(*counts, seed=trial)
        assert interval is not None
        held += interval.low <= share <= interval.high
    assert held >= 180


def test_a_reader_that_guesses_tells_nothing() -> None:
    assert adjusted(Count(50, 100), Count(50, 100), Count(55, 100)) is None
