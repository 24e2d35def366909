"""Backbones: `create_generator` and `create_critic` build any family by name."""

from __future__ import annotations

from steadygan.nets.batch_norm import has_batch_statistics, set_batch_groups
from steadygan.nets.layers import Score
from steadygan.nets.registry import FAMILIES, TRANSLATORS, Family, count_parameters, create_critic, create_generator
from steadygan.nets.spectral_norm import advance_spectral_norm

__all__ = [
    "FAMILIES",
    "TRANSLATORS",
    "Family",
    "Score",
    "advance_spectral_norm",
    "count_parameters",
    "create_critic",
    "create_generator",
    "has_batch_statistics",
    "set_batch_groups",
]
