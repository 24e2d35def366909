"""What a term remembers from phase to phase."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.share import Sharing


class Average(Sharing, nn.Module):
    """Exponential moving average of a scalar, a mean over the batch: mean ← decay·mean + (1 - decay)·value.

    decay: in [0, 1), per call, which is once per phase and micro-batch; initial: the mean before the first value, None
    to begin with that value itself. Values that are not finite are passed over: the phase they come from is skipped.
    """

    mean: Tensor
    started: Tensor

    def __init__(self, decay: float, initial: float | None = None) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.tensor(initial or 0.0))
        self.register_buffer("started", torch.tensor(initial is not None))

    @torch.no_grad()
    def forward(self, value: Tensor) -> Tensor:
        """Takes in a scalar and returns the mean, that value included and without a graph."""
        value = self.share.mean(value.to(self.mean.dtype))
        finite = value.isfinite()
        moved = torch.where(self.started, value.lerp(self.mean, self.decay), value)
        self.mean.copy_(torch.where(finite, moved, self.mean))
        self.started.logical_or_(finite)
        return self.mean.clone()
