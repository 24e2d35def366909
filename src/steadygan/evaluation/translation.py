"""Scores of a translation on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.translation import translate
from steadygan.generators.translator import Translator
from steadygan.metrics.pairs import LPIPS, PairProtocol, pair_record, score_pairs
from steadygan.nets.translate import generator_name
from steadygan.pictures.grid import save_grid
from steadygan.runs.directory import RunDirectory
from steadygan.tasks.pair_sheet import by_name, sheet

SHEET_ROWS = 12
"""How many pairs a sheet shows in each direction."""


def score_translation(
    nets: nn.Module, images: PairSet, config: Config, *, weights: str = "ema", lpips: LPIPS | None = None
) -> tuple[dict[str, Any], float]:
    """Scores every direction on aligned images: one record, and what checkpoints are ranked by, the mean MSE.

    Scores are called `SSIM_a2b` and so on.
    """
    assert isinstance(nets, nn.ModuleDict)
    domains = by_name(images, len(images))
    scores: dict[str, float] = {}
    targets = []
    for direction in config.model.directions:
        source, target = (domains[domain] for domain in direction.split("2"))
        made = translate(nets[generator_name(direction)], source)
        scores |= {f"{name}_{direction}": value for name, value in score_pairs(made, target, lpips=lpips).items()}
        targets.append(target)
    protocol = PairProtocol(images.part, images.size, config.data.fit, weights)
    record = pair_record(scores, torch.cat(targets), protocol, fingerprint=images.fingerprint, lpips=lpips)
    errors = [value for name, value in scores.items() if name.startswith("MSE")]
    return record, sum(errors) / len(errors)


def evaluate_translation(
    translator: Translator,
    images: PairSet | ImageSet | None,
    config: Config,
    run: Path,
    *,
    weights: str,
    lpips: Path | None = None,
) -> dict[str, Any]:
    """Scores a translator on the held-out pairs, appends the record to the run's scores.jsonl and returns it.

    Writes the sheet input | output | target | cycle of the first pairs to the run's `samples/pairs-step-….png`. Raises
    `UserError` when there are no such pairs.
    """
    if not isinstance(images, PairSet) or not images.aligned:
        raise UserError(
            f"{config.data.path} has no test pairs to score against: images of test/A and test/B belong together when "
            "they have one name; with data.domains=paired a share can be held out of the training pairs (data.heldout)"
        )
    measure = None if lpips is None else LPIPS(lpips)
    record, _ = score_translation(translator.nets, images, config, weights=weights, lpips=measure)
    record = {"step": translator.step, **record}
    RunDirectory(run).append("scores.jsonl", record)
    pictures, columns = sheet(translator.nets, images, translator.directions, SHEET_ROWS)
    save_grid(pictures, RunDirectory(run).samples / f"pairs-step-{translator.step:08d}.png", columns)
    return record
