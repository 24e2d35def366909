"""Extracts features and moments from images that are generated or read in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.data.content import fingerprint
from steadygan.data.images import ImageSet
from steadygan.errors import UserError
from steadygan.metrics.frechet import Moments
from steadygan.metrics.protocol import Protocol
from steadygan.metrics.sharding import CHUNK, Shard
from steadygan.pretrained.extractor import Extractor, Features
from steadygan.progress import tell


@dataclass(frozen=True)
class Side:
    """One side of a comparison: `count` images; `take` returns a part of them as uint8 (P, C, H, W) on the CPU;
    `labels` (N,)."""

    count: int
    take: Callable[[slice], Tensor]
    labels: Tensor | None = None
    known_fingerprint: str | None = None

    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels, equal to that of an image set with the same content."""
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        labels = None if self.labels is None else self.labels.tolist()
        return fingerprint(self._images(), labels)

    def _images(self) -> Iterator[np.ndarray]:
        for part in Shard().parts(self.count):
            yield from self.take(part).numpy()


def real_side(reals: ImageSet | Tensor | np.ndarray, labels: Tensor | np.ndarray | None, protocol: Protocol) -> Side:
    """The reals of the protocol: all of them, or `num_real` drawn with its seed.

    Raises UserError if there are fewer than required, or fewer than two.
    """
    if protocol.at_most and protocol.num_real is not None:
        protocol = replace(protocol, num_real=min(protocol.num_real, len(reals)) if len(reals) > 1 else 2)
    if len(reals) < max(protocol.num_real or 2, 2):
        raise UserError(
            f"protocol {protocol.name!r} needs {protocol.num_real or 'at least 2'} real images, "
            f"the split {protocol.split!r} has {len(reals)}: lower num_real or raise data.fraction"
        )
    drawn = torch.arange(len(reals))
    if protocol.num_real not in (None, len(reals)):
        order = torch.randperm(len(reals), generator=torch.Generator().manual_seed(protocol.seed))
        drawn = order[: protocol.num_real].sort().values
    if isinstance(reals, ImageSet):
        images = reals
        known = images.fingerprint if len(drawn) == len(images) else None
        own = None if images.labels is None else images.labels.cpu()[drawn]
        return Side(len(drawn), lambda part: images.take(drawn[part]).cpu(), own, known)
    pixels = torch.as_tensor(reals)
    given = None if labels is None else torch.as_tensor(labels).cpu()[drawn]
    return Side(len(drawn), lambda part: pixels[drawn[part]].cpu(), given)


def extract(
    extractor: Extractor, side: Side, protocol: Protocol, *, keep: bool, shard: Shard
) -> tuple[Moments, Features | None]:
    """Computes moments of all images of a side, over all processes.

    Args:
        extractor: the feature extractor.
        side: reals or fakes.
        protocol: sizes and settings.
        keep: also gather features and logits.
        shard: this process's part.

    Returns:
        Moments of the features, and with `keep` the features and logits.
    """
    moments = Moments()
    features: list[Tensor] = []
    logits: list[Tensor] = []
    for part in shard.parts(side.count):
        tell("reading features", part.start, side.count)
        made = read(extractor, side.take(part), protocol)
        moments.update(made.features)
        if keep:
            features.append(made.features)
            logits.append(made.logits)
    tell("reading features", side.count, side.count)
    moments = shard.merge(moments)
    return moments, Features(shard.gather(features), shard.gather(logits)) if keep else None


def read(extractor: Extractor, images: Tensor, protocol: Protocol) -> Features:
    """Features (N, F) and logits (N, K) of uint8 images; per channel, (N, 3·F) and (N, 3, K).

    Greyscale images are repeated to three channels for an RGB extractor.

    Raises:
        UserError: the images have another number of channels than the protocol needs.
    """
    n, channels = images.shape[:2]
    if protocol.per_channel:
        if channels != 3:
            raise UserError(f"protocol {protocol.name!r} reads 3-channel images, these have {channels}")
        images = images.reshape(n * channels, 1, *images.shape[2:])
    elif channels == 1 and extractor.channels == 3:
        images = images.expand(-1, 3, -1, -1)
    if protocol.resize == "bicubic" and extractor.size is not None and images.shape[2] != extractor.size:
        parts = images.split(CHUNK)
        images = torch.cat([_bicubic(part, extractor.size) for part in parts])
    features, logits = extractor(images)
    if protocol.per_channel:
        return Features(features.reshape(n, -1), logits.reshape(n, channels, -1))
    return Features(features, logits)


def _bicubic(images: Tensor, size: int) -> Tensor:
    resized = F.interpolate(images.float(), (size, size), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)
