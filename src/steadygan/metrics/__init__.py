"""Scores and the protocols that make them comparable."""

from __future__ import annotations

from steadygan.metrics.evaluation import Generate, headline, score, score_images
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.inception_score import inception_score
from steadygan.metrics.kid import kernel_distance
from steadygan.metrics.modes import ModeCoverage, class_agreement, intra_class_diversity, stacked_modes
from steadygan.metrics.prdc import PRDC, prdc
from steadygan.metrics.protocol import PROTOCOLS, Protocol, choose_protocol, fit, get_protocol
from steadygan.metrics.sharding import Shard, processes

__all__ = [
    "PRDC",
    "PROTOCOLS",
    "Generate",
    "ModeCoverage",
    "Moments",
    "Protocol",
    "Shard",
    "choose_protocol",
    "class_agreement",
    "fit",
    "frechet_distance",
    "get_protocol",
    "headline",
    "inception_score",
    "intra_class_diversity",
    "kernel_distance",
    "prdc",
    "processes",
    "score",
    "score_images",
    "stacked_modes",
]
