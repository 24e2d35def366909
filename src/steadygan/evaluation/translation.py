"""Scores a translation on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.translator import Translator
from steadygan.metrics.pairs import LPIPS
from steadygan.pictures.grid import save_grid
from steadygan.runs.directory import RunDirectory, append_record
from steadygan.tasks.pair_sheet import sheet
from steadygan.tasks.translation import score_translation

SHEET_ROWS = 12
"""Number of pairs in a grid, per direction."""


def evaluate_translation(
    translator: Translator,
    images: PairSet | ImageSet | None,
    config: Config,
    run: Path,
    *,
    weights: str,
    lpips: Path | None = None,
) -> dict[str, Any]:
    """Scores a translator on the held-out pairs, and appends the record to the run's scores.jsonl.

    Writes the grid input | output | target | cycle of the first pairs to the run's `samples/pairs-step-….png`.

    Args:
        translator: the translator to score.
        images: the held-out pairs.
        config: the run's configuration.
        run: the run directory.
        weights: "ema" or "raw", for the record.
        lpips: file of AlexNet's weights, to compute LPIPS as well.

    Returns:
        The record.

    Raises:
        UserError: there are no held-out pairs.
    """
    if not isinstance(images, PairSet) or not images.aligned:
        raise UserError(
            f"{config.data.path} has no test pairs to score against: images of test/A and test/B with the same name "
            "form a pair; with data.domains=paired a part of the training pairs can be held out (data.heldout)"
        )
    measure = None if lpips is None else LPIPS(lpips)
    record, _ = score_translation(translator.nets, images, config, weights=weights, lpips=measure)
    record = {"step": translator.step, **record}
    append_record(run, "scores.jsonl", record)
    pictures, columns = sheet(translator.nets, images, translator.directions, SHEET_ROWS)
    save_grid(pictures, RunDirectory(run).samples / f"pairs-step-{translator.step:08d}.png", columns)
    return record
