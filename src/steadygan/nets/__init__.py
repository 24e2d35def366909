"""Backbones: `create_generator` and `create_critic` build any family by name."""

from __future__ import annotations

from steadygan.nets.batch_norm import has_batch_statistics, set_batch_groups
from steadygan.nets.frozen import Frozen
from steadygan.nets.layers import Score
from steadygan.nets.protocols import CriticNet, GeneratorNet, Mapped, Scaled, Staged
from steadygan.nets.registry import FAMILIES, TRANSLATORS, Family, count_parameters, create_critic, create_generator
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.spectral_norm import Spectral, advance_spectral_norm

__all__ = [
    "FAMILIES",
    "TRANSLATORS",
    "CriticNet",
    "Family",
    "Frozen",
    "GeneratorNet",
    "Mapped",
    "Scaled",
    "Score",
    "Shape",
    "Shaped",
    "Spectral",
    "Staged",
    "advance_spectral_norm",
    "count_parameters",
    "create_critic",
    "create_generator",
    "has_batch_statistics",
    "set_batch_groups",
]
