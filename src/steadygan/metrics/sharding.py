"""Evaluation over several processes: which fakes each makes, and how the parts are joined."""

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
"""Images that are made and read at a time. A process takes whole chunks, so that the number of processes changes
neither a batch nor an image."""


@dataclass(frozen=True)
class Shard:
    """Process `rank` of `world`; the methods that gather must be called by all processes alike."""

    rank: int = 0
    world: int = 1

    def parts(self, total: int) -> Iterator[slice]:
        """The chunks of `total` images that this process takes: every `world`-th."""
        for start in range(self.rank * CHUNK, total, self.world * CHUNK):
            yield slice(start, min(start + CHUNK, total))

    def exchange(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        return gather(value)

    def merge(self, moments: Moments) -> Moments:
        """The moments of all processes together."""
        total = Moments()
        for part in self.exchange((moments.count, moments.total, moments.outer)):
            total.merge(Moments(*part))
        return total

    def gather(self, chunks: Sequence[Tensor]) -> Tensor:
        """The chunks of all processes in the order of the images, as one tensor."""
        return interleave(self.exchange(list(chunks)))


def interleave(ranks: Sequence[Sequence[Tensor]]) -> Tensor:
    """One tensor from each rank's chunks: chunk i is the (i // world)-th of rank i % world."""
    rounds = zip_longest(*ranks)
    return torch.cat([chunk for chunks in rounds for chunk in chunks if chunk is not None])


@contextmanager
def processes() -> Iterator[Shard]:
    """This process's shard of the evaluation that torchrun started, the only one without torchrun."""
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
