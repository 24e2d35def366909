"""Batches in an order determined by the seed alone."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan.data.images import ImageSet
from steadygan.errors import UserError
from steadygan.pictures.pixels import to_float

PREFETCHED_BATCHES = 4
Batch = dict[str, tuple[Tensor, Tensor | None]]
"""Images (B, C, H, W) float32 in [-1, 1] and labels (B,) int64 or None, by domain."""


def _shuffle(seed: int, size: int, device: torch.device, epoch: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng((seed, epoch))
    order, flips = generator.permutation(size), generator.integers(2, size=size).astype(bool)
    return torch.from_numpy(order).to(device), torch.from_numpy(flips).to(device)


class Loader:
    """An endless stream of shuffled epochs in global batches; each rank gets its part of a batch.

    Sample number p of the stream is permutation(epoch = p // N)[p % N]; order and flips are functions of (seed, p, N)
    alone, so `position` is the whole state, and neither world size nor batch size changes them. Streamed sets are read
    a few batches ahead; an error in a reading thread is raised by the `next()` that needs the image.

    Args:
        images: the image set.
        batch_size: images per global batch, over all ranks.
        seed: seed of order and flips.
        flip: mirror each image left–right with probability ½.
        rank: this process's number, from 0.
        world_size: number of processes.
        parts: number of equal, consecutive micro-batches per batch. A rank takes a contiguous slice of each, so that
            all ranks together have the micro-batches of a single process.

    Raises:
        UserError: a batch is larger than the set, or not divisible by `world_size` and `parts`.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        seed: int,
        flip: bool = False,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
    ) -> None:
        if batch_size > len(images):
            raise UserError(f"a batch of {batch_size} is larger than the {len(images)} images: lower train.batch_size")
        if batch_size % (world_size * parts):
            raise UserError(
                f"train.batch_size {batch_size} is not divisible by the {world_size} processes"
                + (f" times train.accumulate {parts}" if parts > 1 else "")
            )
        self.images, self.batch_size, self.seed, self.flip = images, batch_size, seed, flip
        self.rank, self.world_size, self.parts, self.position = rank, world_size, parts, 0
        # Decoding threads need the order on the CPU; otherwise it stays on the device to avoid copies.
        device = torch.device("cpu") if images.streamed else images.device
        self._epoch = lru_cache(maxsize=2)(partial(_shuffle, seed, len(images), device))
        self._ahead: deque[tuple[Tensor, Tensor, list[Future[Tensor]]]] = deque()

    def next(self) -> tuple[Tensor, Tensor | None]:
        """This rank's next slice: images (B, C, H, W) float32 in [-1, 1] and labels (B,) int64 or None."""
        images = self.images
        if images.streamed:
            while len(self._ahead) <= PREFETCHED_BATCHES:
                indices, flips = self._draw(self.position + len(self._ahead) * self.batch_size)
                self._ahead.append((indices, flips, images.submit(indices)))
            indices, flips, parts = self._ahead[0]
            x_nchw = images.gather(parts)
            indices, flips = indices.to(images.device), flips.to(images.device)
            self._ahead.popleft()
        else:
            indices, flips = self._draw(self.position)
            x_nchw = images.take(indices)
        self.position += self.batch_size
        if self.flip:
            x_nchw = torch.where(flips[:, None, None, None], x_nchw.flip(3), x_nchw)
        return to_float(x_nchw), None if images.labels is None else images.labels.index_select(0, indices)

    def batch(self) -> Batch:
        """`next()` by domain name; there is one domain."""
        return {"x": self.next()}

    def _draw(self, position: int) -> tuple[Tensor, Tensor]:
        size, part = len(self.images), self.batch_size // self.parts
        share, pieces = part // self.world_size, []
        for start in range(position, position + self.batch_size, part):
            first = start + self.rank * share
            last = first + share
            while first < last:
                epoch, place = divmod(first, size)
                stop = min(size, place + last - first)
                pieces.append([column[place:stop] for column in self._epoch(epoch)])
                first += stop - place
        indices, flips = zip(*pieces, strict=True)
        return torch.cat(indices), torch.cat(flips)

    def state_dict(self) -> dict[str, int]:
        """`position` is the stream index of the next global batch's first sample."""
        return {"position": self.position, "seed": self.seed, "size": len(self.images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state` exactly. Raises UserError if the order of images differs."""
        for key, what, now in (("size", "number of images", len(self.images)), ("seed", "seed", self.seed)):
            if state[key] != now:
                raise UserError(
                    f"the data changed: the {what} was {state[key]} when the run was saved and is {now} now; "
                    "restore it to resume, or start a new run"
                )
        self.close()
        self.position = state["position"]

    def close(self) -> None:
        """Drops prefetched images and waits for those being decoded; `next()` restarts prefetching."""
        while self._ahead:
            for part in self._ahead.popleft()[2]:
                if not part.cancel():
                    part.exception()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
