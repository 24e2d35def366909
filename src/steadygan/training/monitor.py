"""What the training loop shows of a run: grids and instruments. The loop knows no kind of run by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from steadygan.training.state import TrainState


class Monitor(Protocol):
    """What the trainer asks apart from the state.

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
        """What a line of metrics.jsonl says beside the losses; boundary: the logit above which D takes for real."""
