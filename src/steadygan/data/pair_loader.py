"""Batches of two domains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from steadygan.data.loader import Batch, Loader
from steadygan.data.pair_images import PairSet


class PairLoader:
    """`Loader` for two domains: the same order, flips and cuts for both images of a pair, independent ones otherwise.

    Images larger than the set's `size` are randomly cropped to it; the crop is a function of seed and position alone.

    Args:
        images: the image set.
        batch_size: pairs per global batch, over all ranks.
        seed: seed of order, flips and crops.
        flip: mirror each image left–right with probability ½.
        rank: this process's number, from 0.
        world_size: number of processes.

    Raises:
        UserError: a batch is larger than a domain, or not divisible by `world_size`.
    """

    def __init__(
        self,
        images: PairSet,
        *,
        batch_size: int,
        seed: int,
        flip: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.world_size = rank, world_size
        seeds = {"a": seed, "b": seed if images.aligned else seed + 1}
        self.loaders = {
            name: Loader(domain, batch_size=batch_size, seed=seeds[name], flip=flip, rank=rank, world_size=world_size)
            for name, domain in (("a", images.a), ("b", images.b))
        }

    @property
    def position(self) -> int:
        """The stream index of the next global batch's first sample."""
        return self.loaders["a"].position

    def batch(self) -> Batch:
        """This rank's next slice: for "a" and "b" images (B, C, size, size) float32 in [-1, 1] and no labels."""
        batch: Batch = {}
        for name, loader in self.loaders.items():
            places = self._places(loader.seed, loader.position, getattr(self.images, name).size)
            images, _ = loader.next()
            batch[name] = (self._cut(images, places), None)
        return batch

    def _places(self, seed: int, position: int, side: int) -> np.ndarray:
        """Top and left (B, 2) of the crops of this rank's next images."""
        share = self.batch_size // self.world_size
        numbers = np.random.default_rng((seed, position, 1))
        places = numbers.integers(side - self.images.size + 1, size=(self.batch_size, 2))
        return places[self.rank * share : (self.rank + 1) * share]

    def _cut(self, images: Tensor, places: np.ndarray) -> Tensor:
        size = self.images.size
        if images.shape[-1] == size:
            return images
        pairs = zip(images, places.tolist(), strict=True)
        return torch.stack([image[:, top : top + size, left : left + size] for image, (top, left) in pairs])

    def state_dict(self) -> dict[str, dict[str, int]]:
        return {name: loader.state_dict() for name, loader in self.loaders.items()}

    def load_state_dict(self, state: Mapping[str, dict[str, int]]) -> None:
        """Restores `state` exactly. Raises UserError if the order of images differs."""
        for name, loader in self.loaders.items():
            loader.load_state_dict(state[name])

    def close(self) -> None:
        for loader in self.loaders.values():
            loader.close()
