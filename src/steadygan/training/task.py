"""What a kind of run shows of itself while it trains: the loop asks, and knows no kind by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from steadygan.data import ImageSet, to_float
from steadygan.nets.sampling import choose_labels, sample, standing_statistics
from steadygan.share import unshared
from steadygan.training.state import TrainState

PROBE_IMAGES = 256
"""How many training and held-out images D's accuracy is read from."""


class Task(Protocol):
    """What the trainer needs beside the state.

    generator: what a checkpoint says of its generator or generators (plain JSON values).
    """

    generator: Mapping[str, Any]

    def refresh_average(self, state: TrainState) -> None:
        """Makes the averaged weights fit for use, whatever that takes."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Uint8 images (N, C, H, W) of the averaged weights and the columns of their sheet; the same all run long."""

    def real_logits(self, state: TrainState) -> dict[str, Tensor]:
        """What the critics say of up to `PROBE_IMAGES` reals: of "train" and, when there are some, of "heldout"."""


class Sampling:
    """A generator that makes images of latents.

    train, heldout: the real images; seed: of the preview's latents.
    """

    def __init__(self, train: ImageSet, heldout: ImageSet | None, generator: Mapping[str, Any], seed: int) -> None:
        self.train, self.heldout, self.generator, self.seed = train, heldout, generator, seed

    def refresh_average(self, state: TrainState) -> None:
        """Gathers the averaged generator's batch-norm statistics for the weights it has now."""
        standing_statistics(state.ema.net, state.prior)

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """Eight rows; a column is a class, up to ten of them, or nothing in particular."""
        classes = self.generator["classes"]
        columns = min(classes, 10) if classes else 8
        labels = choose_labels(columns * 8, list(range(columns)) if classes else None, classes)
        return sample(state.ema.net, state.prior, columns * 8, labels=labels, seed=self.seed), columns

    @torch.no_grad()
    def real_logits(self, state: TrainState) -> dict[str, Tensor]:
        conditional = state.prior.label_pool is not None
        logits = {}
        for name, images in (("train", self.train), ("heldout", self.heldout)):
            if images is not None and len(images):
                index = torch.arange(min(PROBE_IMAGES, len(images)))
                y = images.labels[index.to(images.labels.device)] if conditional and images.labels is not None else None
                with unshared(state.nets["D"]):
                    logits[name] = state.nets["D"](to_float(images.take(index)), y).logit
        return logits
