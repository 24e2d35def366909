"""Scores and the protocols that make them comparable."""

from __future__ import annotations

from steadygan.metrics.features import EXTRACTORS, Extractor, Features, get_extractor
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.modes import ModeCoverage, class_agreement, intra_class_diversity, stacked_modes
from steadygan.metrics.protocol import PROTOCOLS, Protocol, choose_protocol, score

__all__ = [
    "EXTRACTORS",
    "PROTOCOLS",
    "Extractor",
    "Features",
    "ModeCoverage",
    "Moments",
    "Protocol",
    "choose_protocol",
    "class_agreement",
    "frechet_distance",
    "get_extractor",
    "intra_class_diversity",
    "score",
    "stacked_modes",
]
