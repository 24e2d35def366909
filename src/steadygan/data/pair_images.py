"""The decoded images of two domains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadygan.data.decoding import MAX_UNREADABLE
from steadygan.data.domains import Domain, DomainSources
from steadygan.data.images import ImageSet, load_images
from steadygan.data.split import split


class PairSet:
    """The images of both domains by index, the counterpart of `ImageSet`. Made by `load_domains`.

    Args:
        a: images of domain A.
        b: images of domain B.
        size: side of the training images in pixels; stored ones may be larger, for random crops.
        aligned: whether A's image i and B's image i form a pair.
        part: "train", "heldout" or "test".
        skipped: names of unreadable files, left out in both domains.
    """

    def __init__(
        self, a: ImageSet, b: ImageSet, *, size: int, aligned: bool, part: str = "train", skipped: Sequence[str] = ()
    ) -> None:
        self.a, self.b, self.size, self.aligned, self.part = a, b, size, aligned, part
        self.channels, self.place, self.device = a.channels, a.place, a.device
        self.skipped = [*skipped, *a.skipped, *b.skipped]
        self.fingerprint = hashlib.sha256(repr((a.fingerprint, b.fingerprint, aligned)).encode()).hexdigest()
        self.class_names: tuple[str, ...] = ()
        self.labels = None

    def __len__(self) -> int:
        """The number of pairs, or of images in the smaller domain."""
        return min(len(self.a), len(self.b))

    @property
    def noun(self) -> str:
        if isinstance(self.a.source, Domain) and self.a.source.half is not None:
            return "pairs (the left half of each image is A, the right half B)"
        return "pairs" if self.aligned else f"and {max(len(self.a), len(self.b))} images"

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of A and B at `indices` (N,): each (N, C, size, size) uint8; larger ones are centre-cropped."""
        margin = (self.a.size - self.size) // 2
        window = slice(margin, margin + self.size)
        a, b = (domain.take(indices)[:, :, window, window] for domain in (self.a, self.b))
        return a, b

    def close(self) -> None:
        self.a.close()
        self.b.close()


def load_domains(
    sources: DomainSources,
    indices: Mapping[str, np.ndarray],
    *,
    size: int,
    paired: bool,
    part: str = "train",
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    total: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PairSet:
    """Loads the images of both domains at `indices`, without unreadable ones.

    If one image of a pair is unreadable, its partner is left out too.

    Args:
        sources: of A and B.
        indices: numbers of images, by "a" and "b".
        size: side of training images, in pixels.
        paired: whether A's image i and B's image i belong together.
        part: "train", "heldout" or "test".
        device: the device of batches.
        cache: see `load_images`.
        max_unreadable: fraction of each domain, in [0, 1], that may be unreadable.
        total: number of images to which that fraction refers, by "a" and "b"; None: that of `indices`.
        progress: called with (done, total).

    Raises:
        UserError: more images are unreadable than allowed.
    """
    load = partial(load_images, device=device, cache=cache, max_unreadable=max_unreadable, progress=progress)
    a, b = (
        load(source, indices[name], total=None if total is None else total[name])
        for name, source in zip("ab", sources[:2], strict=True)
    )
    skipped: list[str] = []
    if paired and not np.array_equal(a.indices, b.indices):
        skipped = [*a.skipped, *b.skipped]
        kept = np.intersect1d(a.indices, b.indices)
        a, b = (load(source, kept) for source in sources[:2])
    return PairSet(a, b, size=size, aligned=paired, part=part, skipped=skipped)


def choose(
    sources: DomainSources, paired: bool, *, heldout: float, fraction: float, seed: int, max_images: int | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Splits each domain into training and held-out images: one split of pairs, or one per domain.

    Args:
        sources: of A and B.
        paired: whether A's image i and B's image i belong together.
        heldout, fraction, seed, max_images: see `split.split`.

    Returns:
        Indices to train on and indices held out, each by "a" and "b".
    """
    parts = {
        name: split(len(domain), heldout, fraction, seed, max_images)
        for name, domain in zip("ab", sources[:2], strict=True)
    }
    if paired:
        parts["b"] = parts["a"]
    return {name: train for name, (train, _) in parts.items()}, {name: held for name, (_, held) in parts.items()}
