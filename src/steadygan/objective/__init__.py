"""The objective: sums of terms over views."""

from __future__ import annotations

from steadygan.objective.adaptive import Deceived, deceived, watch
from steadygan.objective.adversarial import LOSSES, AdversarialLoss, Sides
from steadygan.objective.batch import Batch, ScoredBatch, View
from steadygan.objective.bundle import Bundle
from steadygan.objective.consistency import squared_difference
from steadygan.objective.declarations import excludes, needs, rewrites
from steadygan.objective.game import Game, TranslationGame
from steadygan.objective.logan import Climb
from steadygan.objective.memory import Average, History
from steadygan.objective.registry import PLACEMENTS, TERMS, build_terms, resolve_options
from steadygan.objective.terms import Term
from steadygan.objective.views import (
    Aug,
    Bare,
    Beside,
    CutMix,
    Detach,
    Gen,
    Jitter,
    Latent,
    Lerp,
    Mask,
    Nudge,
    Pool,
    Real,
    Relabel,
    Through,
)

__all__ = [
    "LOSSES",
    "PLACEMENTS",
    "TERMS",
    "AdversarialLoss",
    "Aug",
    "Average",
    "Bare",
    "Batch",
    "Beside",
    "Bundle",
    "Climb",
    "CutMix",
    "Deceived",
    "Detach",
    "Game",
    "Gen",
    "History",
    "Jitter",
    "Latent",
    "Lerp",
    "Mask",
    "Nudge",
    "Pool",
    "Real",
    "Relabel",
    "ScoredBatch",
    "Sides",
    "Term",
    "Through",
    "TranslationGame",
    "View",
    "build_terms",
    "deceived",
    "excludes",
    "needs",
    "resolve_options",
    "rewrites",
    "squared_difference",
    "watch",
]
