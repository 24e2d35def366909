"""Configurations in words."""

from __future__ import annotations

from typing import Any

import pytest

from steadygan.runs.words import objective_in_words

FULL = {
    "model": {"kind": "resnet", "features": "tiny", "conditional": True},
    "data": {"size": 64},
    "objective": {"loss": "hinge", "terms": {"bcr": {}, "mine": {}}},
    "augment": {"diffaugment": {"policy": ["color", "cutout"]}},
}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (FULL, "resnet 64², by class · hinge + bCR + mine · D on tiny features too · DiffAugment (color, cutout)"),
        ({"model": {"kind": "dcgan", "features": None}, "objective": {"loss": "hinge"}}, "dcgan · hinge"),
        ({"model": "dcgan", "objective": None, "data": {"size": "64"}}, ""),
        (
            {
                "model": {"kind": "r3gan"},
                "objective": {"loss": "relativistic", "terms": {"r1": {}, "r2": {}, "path_length": {}}},
                "augment": {"ada": {"p": 0.1}, "apa": {}, "diffaugment": None},
            },
            "r3gan · relativistic + R1 + R2 + path length · ADA · APA",
        ),
        ({}, ""),
    ],
)
def test_a_configuration_is_said_in_words(config: dict[str, Any], words: str) -> None:
    assert objective_in_words(config) == words
