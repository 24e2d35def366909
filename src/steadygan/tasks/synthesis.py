"""What a kind of run shows of itself while it trains: the loop asks, and knows no kind by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from steadygan.data.images import ImageSet
from steadygan.generators.sampling import choose_labels, sample, standing_statistics
from steadygan.parallel.share import unshared
from steadygan.pictures.pixels import to_float
from steadygan.training.answers import answers, balanced_draw
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
        D memorising its data. All are a fixed random draw, of a conditional run as many of each class. Fakes: see
        `look_at_fakes`; whether D looks at the image: see `answers`.
        """
        drawn = {name: self._drawn(images, state) for name, images in self._sets() if images is not None}
        reals, labels = drawn["train"]
        logits = {name: self._logits(state, *images) for name, images in drawn.items()}
        accuracy = {}
        if boundary is not None:
            for name, logit in logits.items():
                accuracy[f"D_accuracy_{name}"] = float((logit > boundary).float().mean())
        fakes = look_at_fakes(
            state, seed=self.seed, boundary=boundary, reals_spread=spread(reals), labels=labels, real=logits["train"]
        )
        return accuracy | fakes | answers(state.nets["D"], reals, labels, logits["train"])

    def _sets(self) -> tuple[tuple[str, ImageSet | None], ...]:
        return ("train", self.train), (
            "heldout",
            self.heldout if self.heldout is not None and len(self.heldout) else None,
        )

    def _drawn(self, images: ImageSet, state: TrainState) -> tuple[Tensor, Tensor | None]:
        """The images of a set that are looked at, as D sees them, and their labels where it is given any."""
        labels = images.labels if state.prior.label_pool is not None else None
        index = balanced_draw(labels, len(images), PROBE_IMAGES, seed=0)
        return to_float(images.take(index)), None if labels is None else labels[index.to(labels.device)]

    @torch.no_grad()
    def _logits(self, state: TrainState, x: Tensor, y: Tensor | None) -> Tensor:
        with unshared(state.nets["D"]):
            return state.nets["D"](x, y).logit
