"""Scores one folder of images against another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadygan.data.decoding import MAX_UNREADABLE
from steadygan.data.describe import describe
from steadygan.data.images import ImageSet
from steadygan.data.source import open_source
from steadygan.errors import UserError, command_line
from steadygan.machine import choose_device
from steadygan.metrics.evaluation import score_images
from steadygan.metrics.protocol import Protocol, fit
from steadygan.metrics.sharding import Shard
from steadygan.pretrained.registry import extractor_type
from steadygan.tasks.protocols import load_all


def evaluate_images(
    fakes: str | Path,
    reals: str | Path,
    *,
    features: str,
    size: int | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    device: str = "auto",
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Scores one folder or zip of images against another; no generator is needed.

    Computes Fréchet and kernel distances, precision, recall, density and coverage, and the Inception score of `fakes`
    if the extractor has ImageNet's classes. Unreadable images are left out with a warning.

    Args:
        fakes: folder or zip of generated images.
        reals: folder or zip of real images.
        features: name of the extractor, or your own as `module:Class`.
        size: side in pixels to which both are cropped and resized; by default their own.
        max_unreadable: maximum fraction of unreadable images, in [0, 1].
        device: auto, cpu, cuda or cuda:1.
        extractor_weights: files by extractor name; they take precedence over environment variables.
        shard: this process's part of a distributed evaluation (`metrics.processes`).

    Returns:
        The record of `metrics.score_images`: scores by name and `protocol`.

    Raises:
        UserError: too many images are unreadable, there are fewer than two, sizes differ and `size` is None, or images
            are in colour and the extractor is for greyscale.
    """
    kind = extractor_type(features)
    for path in (fakes, reals):
        if (Path(path) / "config.yaml").is_file() and (Path(path) / "samples").is_dir():
            make = command_line("sample", path, "--num", 2000, "--out", "FOLDER")
            raise UserError(
                f"{path} is a run, whose pictures are grids of many images: give it alone to score its generator, or "
                f"make a folder of single images with `{make}`"
            )
    if size is not None and size < 1:
        raise UserError(f"--size is the side of the images in pixels, 1 or more, not {size}")
    side = _common_side(str(fakes), str(reals)) if size is None else size
    wants = ("fd", "kd", "is", "prdc") if kind.imagenet else ("fd", "kd", "prdc")
    protocol = Protocol("images", features, num_fake=2, scores=wants, split="test")
    for path in (fakes, reals):
        protocol = fit(protocol, open_source(str(path), size=side).channels, side)

    def load(path: str) -> ImageSet:
        images = load_all(open_source(path, size=side, channels=kind.channels), max_unreadable)
        if len(images) < 2:
            raise UserError(f"{path} holds one image that can be read; a distance needs at least 2: add some")
        return images

    return score_images(
        load(str(fakes)),
        load(str(reals)),
        protocol,
        device=choose_device(device),
        extractor_weights=extractor_weights,
        shard=shard,
    )


def _common_side(*paths: str) -> int:
    sizes: dict[tuple[int, int], str] = {}
    for path in paths:
        found = describe(path)["width_height"]
        sizes |= {tuple(extent): path for extent in (found.get("smallest", ()), found.get("largest", ())) if extent}
    if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
        seen = ", ".join(f"{width}×{height} in {path}" for (width, height), path in sizes.items())
        raise UserError(
            f"the images are not squares of one size ({seen}): choose one by --size, to which all are cropped and "
            "resized; it is part of the score"
        )
    side: int = next(iter(sizes))[0]
    return side
