"""benchmarks/claims: every run of a claim has a valid configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from steadygan.config import load

CLAIMS = Path(__file__).parents[1] / "benchmarks" / "claims"


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(CLAIMS))
    yield import_module("claims")
    sys.modules.pop("claims", None)


def test_every_setting_of_every_rival_is_a_configuration(claims: ModuleType) -> None:
    for claim in claims.CLAIMS.values():
        for rival in claim.variants.values():
            for setting in rival.settings.values():
                load(rival.preset, [*claim.common, *rival.changes, *setting])


def test_rivals_are_searched_with_the_same_number_of_tries(claims: ModuleType) -> None:
    for claim in claims.CLAIMS.values():
        if claim.steps[0]:
            assert len({len(rival.settings) for rival in claim.variants.values()}) == 1


def test_a_published_weight_is_the_papers(claims: ModuleType) -> None:
    config = load("cifar10-dcgan-none", claims.weights(1, "bcr", "zcr"))
    assert config.objective.terms == {
        "bcr": {"real": 10, "fake": 10},
        "zcr": {"dis": 5, "gen": 0.5, "sigma": 0.03},
    }
