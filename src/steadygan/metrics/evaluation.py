"""Evaluates a protocol: extracts features of both sides, computes the scores and records their protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan._version import __version__
from steadygan.data.images import ImageSet
from steadygan.errors import UserError
from steadygan.metrics.extraction import Side, extract, real_side
from steadygan.metrics.modes import class_spread
from steadygan.metrics.protocol import Protocol
from steadygan.metrics.reference import Reference, cache_path, load_reference, save_reference
from steadygan.metrics.registry import METRICS, Inputs, find_metric
from steadygan.metrics.sharding import Shard
from steadygan.pretrained.extractor import Extractor
from steadygan.pretrained.registry import get_extractor
from steadygan.runs.reading import cost, is_distance

Generate = Callable[[int, Tensor | None, int, slice], Tensor]
"""(number, labels (number,) int64 or None, seed, part) → the images in `part` of the `number` images determined by the
seed, uint8 (P, C, H, W) on the CPU."""


def score(
    generate: Generate,
    reals: ImageSet | Tensor | np.ndarray,
    real_labels: Tensor | np.ndarray | None,
    protocol: Protocol,
    *,
    classes: int,
    fingerprint: str,
    trained: Sequence[int] = (),
    device: str | torch.device = "cpu",
    cache_dir: Path | None = None,
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Scores a generator against reals. Scores by entry of `protocol.scores`:

    - fd: `FID` with the TF-2015 Inception, else `FD-<extractor>`: Fréchet distance, ≥ 0, lower is better.
    - kd: `KID`, else `KD-<extractor>`: kernel distance, lower is better; and `…_std` over subsets.
    - is: `IS`, else `IS-<extractor>`: higher is better; and `…_std` over splits. ImageNet extractors only.
    - prdc: `precision`, `recall`, `density`, `coverage`: higher is better.
    - classes: `class_agreement`, the fraction of fakes classified as the requested class; `diversity` within a class
      relative to the reals, 1 is equally diverse (if every class has two different reals and two fakes).
    - modes: `modes` generated out of 1,000, and their `kl` divergence from the uniform distribution.

    Args:
        generate: generates the fakes; see `Generate`.
        reals: the images of `protocol.split`: uint8 (N, C, H, W), or an image set.
        real_labels: (N,) classes of the reals; None: unlabelled.
        protocol: everything a score depends on.
        classes: number of classes of the generator; 0: unconditional.
        fingerprint: hash of the training data's content.
        trained: the classes with training images, which are the only ones generated; empty: all.
        device: the extractor's device.
        cache_dir: folder for statistics of reals; None: no cache.
        extractor_weights: files by extractor name.
        shard: this process's part of a distributed evaluation; all ranks get the same record.

    Returns:
        One flat record: the scores by name, and under "protocol" everything they depend on.

    Raises:
        UserError: the extractor cannot read the images, or there are fewer reals than required.
        ValueError: `generate` returned images of another shape or type.
    """
    asked = _labels(classes, trained, protocol)
    real = real_side(reals, real_labels, protocol)
    shape = real.take(slice(0, 1)).shape[1:]

    def take(part: slice) -> Tensor:
        made = generate(protocol.num_fake, asked, protocol.seed, part)
        expected = (part.stop - part.start, *shape)
        if made.dtype != torch.uint8 or made.shape != expected:
            raise ValueError(f"generate must return uint8 {expected}, not {made.dtype} {tuple(made.shape)}")
        return made

    extractor, known = get_extractor(protocol.extractor, device, extractor_weights), "classes" in protocol.scores
    how = _Setup(extractor, protocol, classes if known else 0, cache_dir, shard or Shard())
    record = _score_sides(how, Side(protocol.num_fake, take, asked), real)
    record["protocol"] |= {"classes": classes, "data_fingerprint": fingerprint}
    if 0 < len(trained) < classes:
        record["protocol"]["classes_asked"] = len(trained)
    return record


def score_images(
    fakes: ImageSet,
    reals: ImageSet,
    protocol: Protocol,
    *,
    device: str | torch.device = "cpu",
    cache_dir: Path | None = None,
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Scores one set of images against another.

    Args:
        fakes: the generated images.
        reals: the reference images.
        protocol, device, cache_dir, extractor_weights, shard: see `score`.

    Returns:
        The record of `score`, with `fakes_sha256`.
    """
    protocol = replace(protocol, num_fake=len(fakes))
    fake = real_side(fakes, None, replace(protocol, num_real=None))
    extractor = get_extractor(protocol.extractor, device, extractor_weights)
    how = _Setup(extractor, protocol, 0, cache_dir, shard or Shard())
    record = _score_sides(how, fake, real_side(reals, None, protocol))
    record["protocol"] |= {"fakes_sha256": fake.fingerprint(), "size": reals.size, "channels": reals.channels}
    return record


def headline(record: Mapping[str, Any]) -> float:
    """The value that ranks checkpoints, lower is better: the Fréchet distance, else the first score with a
    direction."""
    for name, value in record.items():
        if is_distance(name):
            return float(value)
    better = record["protocol"].get("better", {})
    costs = [cost(name, value, better) for name, value in record.items() if name != "protocol"]
    return next((value for value in costs if value is not None), float("inf"))


@dataclass(frozen=True)
class _Setup:
    """What fakes and reals are read and compared with.

    classes: number of labels that both sides have and the extractor predicts; 0: labels are ignored.
    """

    extractor: Extractor
    protocol: Protocol
    classes: int
    cache_dir: Path | None
    shard: Shard


def _score_sides(how: _Setup, fakes: Side, reals: Side) -> dict[str, Any]:
    extractor, protocol, classes = how.extractor, how.protocol, how.classes
    if classes not in (0, extractor.classes):
        raise UserError(f"{extractor.name!r} has {extractor.classes} classes, not {classes}")
    wanted = {name: find_metric(name) for name in protocol.scores}
    if not extractor.imagenet and (barred := [name for name, metric in wanted.items() if "imagenet" in metric.needs]):
        raise UserError(f"{', '.join(barred)} needs ImageNet's classes, which {extractor.name!r} does not have")
    fewest = max(metric.least(protocol) for metric in wanted.values())
    if min(fakes.count, reals.count) < fewest:
        raise UserError(
            f"{fakes.count} fakes and {reals.count} reals are too few for {', '.join(protocol.scores)}: each side "
            f"needs {fewest}"
        )
    subset_size = min(protocol.kd_subset_size, fakes.count, reals.count)
    protocol = replace(protocol, num_real=reals.count, kd_subset_size=subset_size)
    reals_sha256 = reals.fingerprint()
    keep_reals = any("reals" in metric.needs for metric in wanted.values())
    how = replace(how, protocol=protocol)
    reference = _reference(how, reals, reals_sha256, keep_reals)

    keep = any("fakes" in metric.needs for metric in wanted.values())
    moments, read = extract(extractor, fakes, protocol, keep=keep, shard=how.shard)
    inputs = Inputs(extractor, protocol, moments, reference, read, fakes.labels, classes)
    labelled = classes and fakes.labels is not None
    scores: dict[str, float] = {}
    for name in sorted(wanted, key=[*METRICS, *wanted].index):
        if labelled or "classes" not in wanted[name].needs:
            scores |= wanted[name].compute(inputs)
    record = protocol.record() | {
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "extractor_resize": extractor.resize,
        "rounding": "uint8, nearest",
        "reals_sha256": reals_sha256,
        "steadygan": __version__,
        "torch": str(torch.__version__),
    }
    if own := {score: way for name in wanted if name not in METRICS for score, way in wanted[name].better.items()}:
        record["better"] = own
    return {**scores, "protocol": record}


def _labels(classes: int, trained: Sequence[int], protocol: Protocol) -> Tensor | None:
    if not classes:
        return None
    pool = torch.tensor(trained or range(classes), dtype=torch.int64)
    if protocol.labels == "random":
        generator = torch.Generator().manual_seed(protocol.seed)
        return pool[torch.randint(len(pool), (protocol.num_fake,), generator=generator)]
    return pool[torch.arange(protocol.num_fake) % len(pool)]


def _reference(how: _Setup, reals: Side, reals_sha256: str, keep: bool) -> Reference:
    """Loads the reference from the cache, keyed by weights and images, or computes it. keep: include the features."""
    extractor, protocol = how.extractor, how.protocol
    read = (extractor.name, extractor.sha256, extractor.resize, protocol.resize, protocol.per_channel)
    path = cache_path((reals_sha256, *read, how.classes, keep), how.cache_dir)
    cached = load_reference(path)
    # All processes must agree on reading the reals.
    everyone = all(how.shard.exchange(cached is not None))
    if cached is not None and everyone:
        return cached
    reference = _compute_reference(how, reals, keep)
    if how.shard.rank == 0:
        save_reference(path, reference)
    return reference


def _compute_reference(how: _Setup, reals: Side, keep: bool) -> Reference:
    classes = how.classes
    moments, read = extract(how.extractor, reals, how.protocol, keep=keep or bool(classes), shard=how.shard)
    spread = torch.zeros(0, dtype=torch.float64)
    labels = reals.labels if classes else None
    if read is not None and labels is not None and torch.bincount(labels, minlength=classes).min() >= 2:
        per_class = class_spread(read.features, labels, classes)
        spread = per_class if per_class.min() > 0 else spread
    features = read.features if keep and read is not None else torch.zeros(0, 0)
    return Reference(moments.mean, moments.cov, spread, features)
