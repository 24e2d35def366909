"""What the players minimise: sums of terms over views."""

from __future__ import annotations

from steadygan.objective.adaptive import Deceived, deceived, watch
from steadygan.objective.adversarial import LOSSES, AdversarialLoss, adversarial
from steadygan.objective.bundle import Bundle
from steadygan.objective.consistency import squared_difference
from steadygan.objective.logan import Climb
from steadygan.objective.memory import Average, History
from steadygan.objective.registry import PLACEMENTS, TERMS, build_terms, resolve_options
from steadygan.objective.terms import Parts, Term, rewrites
from steadygan.objective.translation import Direction
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
    View,
)

__all__ = [
    "LOSSES",
    "PLACEMENTS",
    "TERMS",
    "AdversarialLoss",
    "Aug",
    "Average",
    "Bare",
    "Beside",
    "Bundle",
    "Climb",
    "CutMix",
    "Deceived",
    "Detach",
    "Direction",
    "Gen",
    "History",
    "Jitter",
    "Latent",
    "Lerp",
    "Mask",
    "Nudge",
    "Parts",
    "Pool",
    "Real",
    "Relabel",
    "Term",
    "Through",
    "View",
    "adversarial",
    "build_terms",
    "deceived",
    "resolve_options",
    "rewrites",
    "squared_difference",
    "watch",
]
