"""Exact nearest neighbours, to detect memorisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Nearest(NamedTuple):
    """The k nearest of each of Q queries, nearest first: `distances` (Q, k) and `indices` (Q, k) int64."""

    distances: Tensor
    indices: Tensor


def nearest(queries: Tensor, batches: Iterable[Tensor], k: int) -> Nearest:
    """The `k` rows nearest to each of `queries` (Q, F) in Euclidean distance, among all rows of the batches (B, F).

    `indices` count rows over all batches; one batch is in memory at a time. Ties go to the first row. Raises ValueError
    if there are fewer than k rows.
    """
    distances, indices, seen = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64), 0
    for batch in batches:
        # Not by matrix product, which loses the smallest distances, those of copies.
        found = torch.cdist(queries, batch, compute_mode="donot_use_mm_for_euclid_dist")
        index = torch.arange(seen, seen + len(batch)).expand(len(queries), -1)
        seen += len(batch)
        distances, order = torch.cat([distances, found], 1).sort(dim=1, stable=True)
        indices = torch.cat([indices, index], 1).gather(1, order)[:, :k]
        distances = distances[:, :k]
    if seen < k:
        raise ValueError(f"the {k} nearest of {seen} were asked for")
    return Nearest(distances, indices)
