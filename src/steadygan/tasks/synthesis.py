"""What a kind of run shows of itself while it trains: the loop asks, and knows no kind by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from steadygan.data.images import ImageSet
from steadygan.generators.sampling import choose_labels, sample, standing_statistics
from steadygan.parallel.share import unshared
from steadygan.pictures.pixels import to_float
from steadygan.training.instruments import look_at_fakes, spread
from steadygan.training.state import TrainState

PROBE_IMAGES = 256
"""How many training and held-out images D's accuracy is read from."""


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

    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """`D_accuracy_train`, `D_accuracy_heldout` (Zhao et al., DiffAugment, NeurIPS 2020, Fig. 1), and of fakes.

        The share of real images that D takes for real, among those it trains on and those it has never seen: a gap is
        D memorising its data. Fakes: see `look_at_fakes`.
        """
        accuracy = {}
        if boundary is not None:
            for name, logit in self._real_logits(state).items():
                accuracy[f"D_accuracy_{name}"] = float((logit > boundary).float().mean())
        return accuracy | look_at_fakes(state, seed=self.seed, boundary=boundary, reals_spread=self._reals_spread)

    @cached_property
    def _reals_spread(self) -> Tensor:
        return spread(to_float(self.train.take(torch.arange(min(PROBE_IMAGES, len(self.train))))))

    @torch.no_grad()
    def _real_logits(self, state: TrainState) -> dict[str, Tensor]:
        conditional = state.prior.label_pool is not None
        logits = {}
        for name, images in (("train", self.train), ("heldout", self.heldout)):
            if images is not None and len(images):
                index = torch.arange(min(PROBE_IMAGES, len(images)))
                y = images.labels[index.to(images.labels.device)] if conditional and images.labels is not None else None
                with unshared(state.nets["D"]):
                    logits[name] = state.nets["D"](to_float(images.take(index)), y).logit
        return logits
