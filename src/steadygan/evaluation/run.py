"""Scores a run's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from steadygan.config import Config
from steadygan.errors import UserError, command_line, no_run
from steadygan.evaluation import health
from steadygan.evaluation.bare import evaluate_bare
from steadygan.evaluation.scoring import Scoring, scores_at, shard_of, with_asked
from steadygan.evaluation.translation import evaluate_translation
from steadygan.generators.loading import load, load_translator
from steadygan.generators.prior import Truncation
from steadygan.generators.translator import is_translation
from steadygan.importing.opening import as_checkpoint
from steadygan.kernels.compiled import building
from steadygan.metrics.protocol import choose_protocol
from steadygan.options import check_keywords
from steadygan.runs.checkpoint import MANIFEST, find_checkpoint
from steadygan.runs.directory import append_record
from steadygan.runs.located import load_located
from steadygan.runs.outputs import run_of
from steadygan.runs.provenance import check_same_data
from steadygan.runs.shared import is_elsewhere, is_foreign, is_shared
from steadygan.tasks.choice import build_images
from steadygan.tasks.protocols import protocol_for


@building()
def evaluate(
    path: str | Path, *, truncation: Truncation | None = None, lpips: Path | None = None, **how: Unpack[Scoring]
) -> dict[str, Any]:
    """Scores a run's best (else newest) checkpoint and appends the scores with their protocol to scores.jsonl.

    A translation is scored on its test pairs, and a grid of the first ones is added to the run's samples.

    Args:
        path: the run directory; or a generator without a run (a checkpoint, an import, an export, another program's
            file), which is scored against the images `data` without a record.
        truncation: see `Generator.sample`; by default the protocol's.
        lpips: translations only: AlexNet's weights, to compute LPIPS as well.
        how: protocol, weights, device, reals, max_unreadable, extractor_weights, shard and data: see `Scoring`.

    Returns:
        The record of scores.jsonl: scores by name, `step` and `protocol`.

    Raises:
        UserError: no extractor fits the images, or weights or test images are missing.
    """
    check_keywords(Scoring, how)
    if not (Path(path) / "config.yaml").is_file():
        checkpoint = _bare_checkpoint(Path(path))
        _refuse_idle(checkpoint, truncation, lpips, how, bare=True)
        return evaluate_bare(path, checkpoint, truncation, lpips, how)
    path = _run_directory(path)
    _refuse_idle(path, truncation, lpips, how)
    if is_translation(find_checkpoint(path)):
        return _evaluate_translation(path, lpips, how)
    if how.get("protocol") == health.NAME:
        found = health.Health.of(
            path, weights=how.get("weights", "ema"), device=how.get("device", "auto"), data=how.get("data")
        ).record()
        if shard_of(how).rank == 0:
            append_record(path, "scores.jsonl", found)
        return found
    (record,) = truncation_curve(path, None if truncation is None else (truncation,), **how)
    return record


def _refuse_idle(
    path: Path, truncation: Truncation | None, lpips: Path | None, how: Scoring, *, bare: bool = False
) -> None:
    """Raises `UserError` for options that do not affect this kind of score."""
    translates, counts = is_translation(find_checkpoint(path)), how.get("protocol") == health.NAME
    if bare and counts:
        raise UserError(f"the protocol health needs a run, with its augmentations and training images; {path} has none")
    given = {"--truncation": truncation, "--reals": how.get("reals")}
    if translates or counts:
        given |= {"--protocol": how.get("protocol")} if translates else {}
        kind = "a translation is scored on its test pairs" if translates else "the protocol health counts copies"
        if idle := [name for name, value in given.items() if value is not None]:
            raise UserError(f"{kind}: {' and '.join(idle)} has no effect; omit it")
    if lpips is not None and not translates:
        raise UserError(f"--lpips is for translations, and {path} generates from latents; omit it")


def _bare_checkpoint(path: Path) -> Path:
    """The checkpoint of a generator given without a run."""
    if is_foreign(path) or is_elsewhere(path) or is_shared(path) or (path / MANIFEST).is_file():
        return find_checkpoint(as_checkpoint(path))
    if run_of(path) is not None:
        raise UserError(no_run(path))
    raise UserError(
        f"{path} is neither a run directory nor a generator; to score a folder of images, give the real ones as well: "
        f"`{command_line('evaluate', path, 'REALS', '--features', 'squeezenet')}`"
    )


def _run_directory(path: str | Path) -> Path:
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise UserError(no_run(path))
    return path


def _configuration(path: Path, how: Scoring) -> Config:
    """A run's configuration, with `data.max_unreadable` and `data.path` replaced if given."""
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
    """Scores a run like `evaluate` at several truncations, recorded in this order; the reals are read once.

    Batch norms use standing statistics gathered at each truncation (Brock et al., BigGAN, ICLR 2019, §3.1 and Fig. 2).

    Args:
        path: the run directory.
        truncations: list of values (None: no truncation), or None for the protocol's value.
        num_fake: fakes per score; None: the protocol's.
        how: see `Scoring`.

    Returns:
        One record per truncation, as from `evaluate`.

    Raises:
        UserError: as `evaluate`.
    """
    check_keywords(Scoring, how)
    path, shard = _run_directory(path), shard_of(how)
    weights, device = how.get("weights", "ema"), how.get("device", "auto")
    generator = load(path, device=device, weights=weights)
    config = with_asked(_configuration(path, how), how)
    images = build_images(config, torch.device("cpu"))
    protocol = protocol_for(config, images)
    if protocol is None:
        protocol = choose_protocol(config.data.path, images.train.channels, images.train.size)
    check_same_data(path, images.train.fingerprint)
    records = []
    for record in scores_at(truncations, generator, images, protocol, config, how, num_fake):
        records.append(record)
        if shard.rank == 0:
            append_record(path, "scores.jsonl", record)
    return records
