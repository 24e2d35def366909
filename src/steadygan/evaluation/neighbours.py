"""Nearest training images of a run's samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from steadygan.data.images import ImageSet
from steadygan.errors import UserError, no_run
from steadygan.generators.classes import Classes
from steadygan.generators.loading import load
from steadygan.generators.prior import Truncation
from steadygan.machine import choose_device
from steadygan.metrics.extraction import read
from steadygan.metrics.neighbours import Nearest, nearest
from steadygan.metrics.protocol import Protocol, fit
from steadygan.pictures.grid import grid
from steadygan.pretrained.registry import get_extractor
from steadygan.progress import tell
from steadygan.runs.located import load_located
from steadygan.runs.provenance import check_same_data
from steadygan.tasks.choice import build_images
from steadygan.tasks.protocols import protocol_for

CHUNK_BYTES = 64 << 20
"""Bytes of float32 training images per chunk, in addition to the data set."""


@dataclass(frozen=True)
class Neighbours:
    """Samples (N, C, H, W) uint8 and their nearest training images.

    Attributes:
        found: by "pixels" and, if available, the extractor's name: the `Nearest`, with indices of training images, and
            these images (N, k, C, H, W) uint8. Pixel distances are root mean squares over pixels and channels, in grey
            levels 0 to 255; feature distances are Euclidean.
        names: files of those training images by index; empty for an embedded data set.
    """

    samples: Tensor
    found: Mapping[str, tuple[Nearest, Tensor]]
    names: Mapping[int, str] = field(default_factory=dict)

    def sheet(self) -> Image.Image:
        """A grid with one row per sample: the sample, its neighbours in pixels, a gap, and its neighbours in
        features."""
        columns = [grid(self.samples, 1)]
        columns += [grid(images.flatten(0, 1), images.shape[1]) for _, images in self.found.values()]
        gap = self.samples.shape[-1] // 4
        width = sum(column.width for column in columns) + gap * (len(columns) - 1)
        sheet = Image.new(columns[0].mode, (width, columns[0].height), "white")
        left = 0
        for column in columns:
            sheet.paste(column, (left, 0))
            left += column.width + gap
        return sheet


def neighbours(
    path: str | Path,
    num: int = 8,
    k: int = 5,
    *,
    features: str | None = None,
    classes: Classes = None,
    seed: int = 0,
    truncation: Truncation | None = None,
    weights: Literal["ema", "raw"] = "ema",
    device: str = "auto",
    extractor_weights: Mapping[str, Path] | None = None,
    data: str | Path | None = None,
) -> Neighbours:
    """Finds the training images nearest to a run's samples, in pixels and in an extractor's features.

    A sample almost equal to a neighbour was memorised; distances in features also reveal shifted or recoloured copies.
    The training images are read in chunks.

    Args:
        path: the run directory.
        num: number of samples.
        k: training images per sample.
        features: the extractor's name, or `module:Class`; by default the data's, if any.
        classes: numbers or names of the samples' classes, repeated in turn; None: all classes in turn.
        seed: seed of the latents.
        truncation: see `Generator.sample`.
        weights: "ema" for the averaged generator, "raw" for the trained one.
        device: auto, cpu, cuda or cuda:1.
        extractor_weights: files by extractor name.
        data: the images' new path, if they moved.

    Returns:
        The samples and their neighbours with distances.

    Raises:
        UserError: the run's images changed, or there are fewer than k.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise UserError(no_run(path))
    if k < 1:
        raise UserError(f"{k} neighbours cannot be shown; ask for at least one")
    generator = load(path, device=device, weights=weights)
    samples = generator.sample(num, classes=classes, seed=seed, truncation=truncation)
    config = load_located(path, data=data)
    real = build_images(config, torch.device("cpu"))
    check_same_data(path, real.train.fingerprint)
    train = real.train
    assert isinstance(train, ImageSet)
    if k > len(train):
        raise UserError(f"{k} neighbours of {len(train)} training images: ask for at most {len(train)}")

    protocol = protocol_for(config, real) if features is None else None
    if features is not None:
        protocol = fit(Protocol("neighbours", features, num_fake=2), train.channels, train.size)
    side = train.channels * train.size**2
    in_pixels = nearest(samples.flatten(1).float(), (part.flatten(1).float() for part in _chunks(train)), k)
    in_pixels = in_pixels._replace(distances=in_pixels.distances / side**0.5)
    found = {"pixels": (in_pixels, _images(train, in_pixels.indices))}
    if protocol is not None:
        chosen = protocol
        extractor = get_extractor(chosen.extractor, choose_device(device), extractor_weights)
        queries = read(extractor, samples, chosen).features
        close = nearest(queries, (read(extractor, part, chosen).features for part in _chunks(train)), k)
        found[extractor.name] = (close, _images(train, close.indices))
    shown = {int(index) for near, _ in found.values() for index in near.indices.flatten()}
    files = train.source.names
    return Neighbours(samples, found, {index: files[train.indices[index]] for index in shown} if files else {})


def _chunks(images: ImageSet) -> Iterator[Tensor]:
    """All images in order, uint8 (B, C, H, W) on the CPU."""
    size = max(1, CHUNK_BYTES // (4 * images.channels * images.size**2))
    for start in range(0, len(images), size):
        tell("comparing", start, len(images))
        yield images.take(np.arange(start, min(start + size, len(images)))).cpu()


def _images(images: ImageSet, indices: Tensor) -> Tensor:
    """The images at indices (N, k): (N, k, C, H, W) uint8 on the CPU."""
    taken = images.take(indices.flatten()).cpu()
    return taken.view(*indices.shape, *taken.shape[1:])
