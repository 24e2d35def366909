"""Scores of a run's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor

from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.evaluation import health
from steadygan.evaluation.translation import evaluate_translation
from steadygan.generators.loading import load, load_translator
from steadygan.generators.prior import Truncation
from steadygan.generators.translator import is_translation
from steadygan.kernels.compiled import building
from steadygan.machine import choose_device
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import BatchNorm, Protocol, choose_protocol
from steadygan.metrics.sharding import Shard
from steadygan.options import check_keywords
from steadygan.runs.checkpoint import find_checkpoint
from steadygan.runs.directory import append_record
from steadygan.runs.located import load_located
from steadygan.runs.provenance import check_same_data
from steadygan.tasks.choice import build_images
from steadygan.tasks.protocols import protocol_for, real_images


class Scoring(TypedDict, total=False):
    """How a run is scored, where it is not as its protocol and its configuration say.

    Attributes:
        protocol: a name from `metrics.PROTOCOLS`, by default the one made for the data; `health` measures leaking
            augmentations and copies instead of distances (`evaluation.health`).
        weights: the averaged weights ("ema", by default) or those of the last step ("raw").
        device: auto (by default), cpu, cuda or cuda:1.
        reals: folder or zip of test images, for protocols that compare with them; by default `eval.reals`.
        max_unreadable: largest share of unreadable images; by default the run's `data.max_unreadable`.
        extractor_weights: files by extractor name; they take precedence over environment variables.
        shard: this process's part, where several evaluate together (`metrics.processes`). The first one appends the
            record; all return it.
        data: where the run's images are now, if they moved.
    """

    protocol: str | None
    weights: Literal["ema", "raw"]
    device: str
    reals: str | Path | None
    max_unreadable: float | None
    extractor_weights: Mapping[str, Path] | None
    shard: Shard | None
    data: str | Path | None


@building()
def evaluate(
    path: str | Path, *, truncation: Truncation | None = None, lpips: Path | None = None, **how: Unpack[Scoring]
) -> dict[str, Any]:
    """Scores a run's best (else newest) checkpoint and appends the scores with their protocol to scores.jsonl.

    A translation is scored on its test pairs, and a sheet of the first ones is added to the run's samples.

    Args:
        path: the run directory.
        truncation: of the latent, see `Generator.sample`; by default the protocol's.
        lpips: translations: AlexNet's weights, to compute LPIPS as well.
        how: protocol, weights, device, reals, max_unreadable, extractor_weights, shard and data: see `Scoring`.

    Returns:
        The record of scores.jsonl: scores by name, `step` and `protocol`.

    Raises:
        UserError: no extractor suits the images, or weights or test images are missing.
    """
    check_keywords(Scoring, how)
    path = _run_directory(path)
    _refuse_idle(path, truncation, lpips, how)
    if is_translation(find_checkpoint(path)):
        return _evaluate_translation(path, lpips, how)
    if how.get("protocol") == health.NAME:
        found = health.Health.of(
            path, weights=how.get("weights", "ema"), device=how.get("device", "auto"), data=how.get("data")
        ).record()
        if _shard(how).rank == 0:
            append_record(path, "scores.jsonl", found)
        return found
    (record,) = truncation_curve(path, None if truncation is None else (truncation,), **how)
    return record


def _refuse_idle(path: Path, truncation: Truncation | None, lpips: Path | None, how: Scoring) -> None:
    """Raises `UserError` for what would change nothing about this kind of score."""
    translates, counts = is_translation(find_checkpoint(path)), how.get("protocol") == health.NAME
    given = {"--truncation": truncation, "--reals": how.get("reals")}
    if translates or counts:
        given |= {"--protocol": how.get("protocol")} if translates else {}
        kind = "a translation is scored on its test pairs" if translates else "the protocol health counts copies"
        if idle := [name for name, value in given.items() if value is not None]:
            raise UserError(f"{kind}: {' and '.join(idle)} would change nothing; leave it away")
    if lpips is not None and not translates:
        raise UserError(f"--lpips scores translations, and {path} makes images of latents; leave it away")


def _shard(how: Scoring) -> Shard:
    return how.get("shard") or Shard()


def _run_directory(path: str | Path) -> Path:
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path} is not a run directory: it has no config.yaml")
    return path


def _configuration(path: Path, how: Scoring) -> Config:
    """A run's, with another `data.max_unreadable` and `data.path` if they are given."""
    share = how.get("max_unreadable")
    changes = [] if share is None else [f"data.max_unreadable={share}"]
    return load_located(path, changes, data=how.get("data"))


def _evaluate_translation(path: Path, lpips: Path | None, how: Scoring) -> dict[str, Any]:
    config, weights = _configuration(path, how), how.get("weights", "ema")
    images = build_images(config, torch.device("cpu"))
    check_same_data(path, images.train.fingerprint)
    translator = load_translator(path, device=how.get("device", "auto"), weights=weights)
    return evaluate_translation(translator, images.heldout, config, path, weights=weights, lpips=lpips)


@building()
def truncation_curve(
    path: str | Path,
    truncations: Sequence[Truncation | None] | None,
    *,
    num_fake: int | None = None,
    **how: Unpack[Scoring],
) -> list[dict[str, Any]]:
    """The scores of `evaluate` at each truncation, recorded in this order; the images are read once.

    truncations: None among them is off, None in their place the protocol's own.
    Batch norms have standing statistics of each truncation's own (Brock et al., BigGAN, ICLR 2019, §3.1 and Fig. 2).
    num_fake: fakes a score, where not the protocol's. Other arguments and errors are those of `evaluate`.
    """
    check_keywords(Scoring, how)
    path, shard = _run_directory(path), _shard(how)
    weights, device = how.get("weights", "ema"), how.get("device", "auto")
    generator = load(path, device=device, weights=weights)
    config, reals = _configuration(path, how), how.get("reals")
    asked = {"protocol": how.get("protocol"), "reals": None if reals is None else str(reals)}
    asked = {key: value for key, value in asked.items() if value is not None}
    config = config.model_copy(update={"eval": config.eval.model_copy(update=asked)})
    images = build_images(config, torch.device("cpu"))
    chosen = protocol_for(config, images)
    if chosen is None:
        chosen = choose_protocol(config.data.path, images.train.channels, images.train.size)
    check_same_data(path, images.train.fingerprint)
    by_batch = chosen.batch_norm == "batch" and generator.has_batch_norm
    chosen = replace(chosen, weights=weights, num_fake=num_fake or chosen.num_fake)

    images_of_split = real_images(chosen, config, images)
    records = []
    for truncation in (chosen.truncation,) if truncations is None else truncations:
        # The averaged weights are stored with their own statistics, the others with those of training.
        stored: BatchNorm = "running" if weights == "raw" and truncation is None else "standing"
        now = replace(chosen, truncation=truncation, batch_norm="batch" if by_batch else stored)

        def generate(num: int, labels: Tensor | None, seed: int, part: slice, now: Protocol = now) -> Tensor:
            classes = None if labels is None else labels.tolist()
            return generator.sample(num, classes=classes, seed=seed, truncation=now.truncation, part=part)

        with generator.batch_statistics(truncation) if by_batch else nullcontext():
            scores = score(
                generate,
                images_of_split,
                None,
                now,
                classes=generator.classes,
                fingerprint=images.train.fingerprint,
                trained=generator.trained_classes,
                device=choose_device(device),
                extractor_weights=how.get("extractor_weights"),
                shard=shard,
            )
        records.append({"step": generator.step, **scores})
        if shard.rank == 0:
            append_record(path, "scores.jsonl", records[-1])
    return records
