"""Consistency terms whose weight rises."""

from __future__ import annotations

import pytest

from steadygan.errors import UserError
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS
from steadygan.transforms.consistency import Consistency

GAME = Game.of(Consistency(flip=0.5))


def strengths(name: str, step: int, **options: float) -> dict[str, float]:
    return {term.name: term.strength(step) for term in TERMS[name](GAME, **options)}


def test_without_a_ramp_the_weight_is_whole_from_the_first_step_on() -> None:
    assert strengths("cr", 0) == {"cr": 10}
    assert strengths("bcr", 0) == {"bcr_real": 10, "bcr_fake": 10}
    assert strengths("zcr", 0) == {"zcr_dis": 5, "zcr_gen": 0.5}


def test_a_ramp_rises_in_eight_stairs_and_leaves_the_term_of_g_alone() -> None:
    assert [strengths("cr", step, ramp=80)["cr"] for step in (0, 9, 10, 40, 69, 70, 80, 10**6)] == [
        *(1.25, 1.25, 2.5, 6.25, 8.75, 10, 10, 10)
    ]
    assert strengths("bcr", 0, ramp=80) == {"bcr_real": 1.25, "bcr_fake": 1.25}
    assert strengths("zcr", 0, ramp=80) == {"zcr_dis": 0.625, "zcr_gen": 0.5}
    assert len({strengths("cr", step, ramp=1000)["cr"] for step in range(2000)}) == 8


def test_a_ramp_shorter_than_its_stairs_only_rises() -> None:
    rise = [strengths("cr", step, ramp=3)["cr"] for step in range(5)]
    assert rise == sorted(rise)
    assert rise[-1] == 10


def test_a_negative_ramp_is_refused() -> None:
    with pytest.raises(UserError, match=r"ramp must be a number of steps, at least 0, got -1"):
        strengths("cr", 0, ramp=-1)
