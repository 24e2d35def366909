"""Distributed evaluation: the fakes of each process, and how parts are joined."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from steadygan.metrics.frechet import Moments
from steadygan.parallel.messages import gather

CHUNK = 1024
"""Images generated and read per batch. Processes take whole chunks, so that their number changes neither batches nor
images."""


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `world`. All processes must call `exchange`, `merge` and `gather` in the same order."""

    rank: int = 0
    world: int = 1

    def parts(self, total: int) -> Iterator[slice]:
        """This process's chunks of `total` images: every `world`-th."""
        for start in range(self.rank * CHUNK, total, self.world * CHUNK):
            yield slice(start, min(start + CHUNK, total))

    def exchange(self, value: Any) -> list[Any]:
        """Returns the values of all processes, by rank."""
        if self.world == 1:
            return [value]
        return gather(value)

    def merge(self, moments: Moments) -> Moments:
        """Returns the merged moments of all processes."""
        total = Moments()
        for part in self.exchange((moments.count, moments.total, moments.outer)):
            total.merge(Moments(*part))
        return total

    def gather(self, chunks: Sequence[Tensor]) -> Tensor:
        """Concatenates the chunks of all processes in the order of the images."""
        return interleave(self.exchange(list(chunks)))


def interleave(ranks: Sequence[Sequence[Tensor]]) -> Tensor:
    """Concatenates each rank's chunks: chunk i is the (i // world)-th of rank i % world."""
    rounds = zip_longest(*ranks)
    return torch.cat([chunk for chunks in rounds for chunk in chunks if chunk is not None])


@contextmanager
def processes() -> Iterator[Shard]:
    """This process's shard of an evaluation under torchrun; without torchrun, the whole."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Shard()
        return
    ours = not torch.distributed.is_initialized()
    if ours:
        torch.distributed.init_process_group("gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield Shard(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        if ours:
            torch.distributed.destroy_process_group()
