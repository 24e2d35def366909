"""What the training loop asks of the kind of run that it trains; the loop knows no kind by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from steadygan.training.state import TrainState


class Task(Protocol):
    """What the trainer needs beside the state.

    generator: what a checkpoint says of its generator or generators (plain JSON values).
    """

    generator: Mapping[str, Any]

    def refresh_average(self, state: TrainState) -> None:
        """Makes the averaged weights fit for use, whatever that takes."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Uint8 images (N, C, H, W) of the averaged weights and the columns of their sheet; the same all run long."""

    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """What a line of metrics.jsonl says beside the losses; boundary: the logit above which D takes for real."""
