"""The interface between the training loop and kinds of runs: grids and instruments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from steadygan.training.state import TrainState


class Monitor(Protocol):
    """The trainer's interface to a kind of run.

    Attributes:
        generator: the description of the generator or generators for checkpoints (plain JSON values).
        scores_itself: whether the run is scored automatically, as often as time allows, when `eval.every` is null.
    """

    generator: Mapping[str, Any]
    scores_itself: bool

    def refresh_average(self, state: TrainState) -> None:
        """Prepares the averaged weights for use, e.g. recomputes batch-norm statistics."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Images (N, C, H, W) uint8 of the averaged weights and the number of columns of their grid; the same latents
        throughout the run."""

    def call(self) -> Mapping[str, Any]:
        """Arguments of `Generator.sample` that reproduce the images of `preview`; empty if it cannot."""

    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """Values for metrics.jsonl in addition to losses. boundary: the logit above which D predicts real."""
