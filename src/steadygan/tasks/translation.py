"""A translation while it trains: what the loop shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.data.pair_images import PairSet
from steadygan.nets.translate import critic_name
from steadygan.pictures.pixels import to_float
from steadygan.tasks.pair_sheet import by_name, sheet
from steadygan.training.state import TrainState

PREVIEWED = 6
"""How many images of each domain a sheet shows."""

PROBED = 32
"""How many images of each domain D's accuracy is read from."""


class Translating:
    """Generators that make images of images.

    train, heldout: the two domains; directions: those that are trained; beside: whether critics see the input too.
    """

    def __init__(
        self,
        train: PairSet,
        heldout: PairSet | None,
        generator: Mapping[str, Any],
        directions: Sequence[str],
        beside: bool,
    ) -> None:
        self.train, self.heldout, self.generator = train, heldout, generator
        self.directions, self.beside = directions, beside

    def refresh_average(self, state: TrainState) -> None:
        """Nothing to do: the statistics that a batch norm has gathered are copied with the weights."""

    def preview(self, state: TrainState) -> tuple[Tensor, int]:
        """The sheet of the first held-out images, or else of the first that are trained on."""
        assert isinstance(state.ema.net, nn.ModuleDict)
        return sheet(state.ema.net, self.heldout or self.train, self.directions, PREVIEWED)

    @torch.no_grad()
    def probe(self, state: TrainState, boundary: float | None) -> dict[str, float]:
        """The share of real images, or of patches of them, that the critics take for real."""
        accuracy: dict[str, float] = {}
        if boundary is None:
            return accuracy
        for name, images in (("train", self.train), ("heldout", self.heldout)):
            if images is not None and (images.aligned or not self.beside):
                domains = by_name(images, min(PROBED, len(images)))
                scores = []
                for direction in self.directions:
                    source, target = (to_float(domains[domain].to(state.device)) for domain in direction.split("2"))
                    seen = torch.cat([source, target], 1) if self.beside else target
                    scores += [state.nets[critic_name(direction)](part).logit for part in seen.split(16)]
                accuracy[f"D_accuracy_{name}"] = float((torch.cat(scores) > boundary).float().mean())
        return accuracy
