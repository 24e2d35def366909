"""The interface between the training loop and kinds of runs: grids and instruments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from steadygan.training.state import TrainState


class Monitor(Protocol):
    """The trainer's interface to a kind of run.

    generator: what a checkpoint says of its generator or generators (plain JSON values); scores_itself: whether the
    run is scored as often as the time allows without being asked (`eval.every` null).
    """

    generator: Mapping[str, Any]
    scores_itself: bool

    def refresh_average(self, state: TrainState) -> None:
        """Makes the averaged weights fit for use, whatever that takes."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Uint8 images (N, C, H, W) of the averaged weights and the columns of their sheet; the same all run long."""

    def call(self) -> Mapping[str, Any]:
        """The arguments by which `Generator.sample` makes the images of `preview` again; empty where nothing can."""

    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """Values of a line of metrics.jsonl besides losses; boundary: the logit above which D says real."""
