"""Options of scoring, and the scoring of generators with or without a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import Tensor

from steadygan.config import Config
from steadygan.generators.generator import Generator
from steadygan.generators.prior import Truncation
from steadygan.machine import choose_device
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import BatchNorm, Protocol
from steadygan.metrics.sharding import Shard
from steadygan.tasks.images import Images
from steadygan.tasks.protocols import real_images


class Scoring(TypedDict, total=False):
    """Options of scoring that override the protocol and the configuration.

    Attributes:
        protocol: a name from `metrics.PROTOCOLS`, by default the data's; `health` measures leaking augmentations and
            copies instead of distances (`evaluation.health`).
        weights: "ema" (default) for the averaged weights, "raw" for those of the last step.
        device: auto (by default), cpu, cuda or cuda:1.
        reals: folder or zip of test images, for protocols that need them; by default `eval.reals`.
        max_unreadable: maximum fraction of unreadable images, in [0, 1]; by default the run's `data.max_unreadable`.
        extractor_weights: files by extractor name; they take precedence over environment variables.
        shard: this process's part of a distributed evaluation (`metrics.processes`). Rank 0 appends the record; all
            ranks return it.
        data: the images' new path, if they moved; for a generator without a run, its real images.
    """

    protocol: str | None
    weights: Literal["ema", "raw"]
    device: str
    reals: str | Path | None
    max_unreadable: float | None
    extractor_weights: Mapping[str, Path] | None
    shard: Shard | None
    data: str | Path | None


def shard_of(how: Scoring) -> Shard:
    return how.get("shard") or Shard()


def with_asked(config: Config, how: Scoring) -> Config:
    """A configuration with the requested protocol and test images."""
    reals = how.get("reals")
    asked = {"protocol": how.get("protocol"), "reals": None if reals is None else str(reals)}
    asked = {key: value for key, value in asked.items() if value is not None}
    return config.model_copy(update={"eval": config.eval.model_copy(update=asked)})


def scores_at(
    truncations: Sequence[Truncation | None] | None,
    generator: Generator,
    images: Images,
    protocol: Protocol,
    config: Config,
    how: Scoring,
    num_fake: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Returns one record of scores per truncation.

    Batch norms use standing statistics gathered at each truncation (Brock et al., BigGAN, ICLR 2019, §3.1 and Fig. 2).

    Args:
        truncations: list of values (None: no truncation), or None for the protocol's value.
        generator: the generator to score.
        images: the real images.
        protocol: how to score.
        config: the run's configuration.
        how: see `Scoring`.
        num_fake: fakes per score; None: the protocol's.
    """
    weights = how.get("weights", "ema")
    by_batch = protocol.batch_norm == "batch" and generator.has_batch_norm
    protocol = replace(protocol, weights=weights, num_fake=num_fake or protocol.num_fake)
    reals = real_images(protocol, config, images)
    for truncation in (protocol.truncation,) if truncations is None else truncations:
        # Averaged weights are stored with standing statistics, raw weights with running ones.
        stored: BatchNorm = "running" if weights == "raw" and truncation is None else "standing"
        now = replace(protocol, truncation=truncation, batch_norm="batch" if by_batch else stored)

        def generate(num: int, labels: Tensor | None, seed: int, part: slice, now: Protocol = now) -> Tensor:
            classes = None if labels is None else labels.tolist()
            return generator.sample(num, classes=classes, seed=seed, truncation=now.truncation, part=part)

        with generator.batch_statistics(truncation) if by_batch else nullcontext():
            scores = score(
                generate,
                reals,
                None,
                now,
                classes=generator.classes,
                fingerprint=images.train.fingerprint,
                trained=generator.trained_classes,
                device=choose_device(how.get("device", "auto")),
                extractor_weights=how.get("extractor_weights"),
                shard=shard_of(how),
            )
        yield {"step": generator.step, **scores}
