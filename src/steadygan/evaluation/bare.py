"""Scores generators without a run (imported, exported, or a lone checkpoint) against given real images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from steadygan import config as configuration
from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError, command_line
from steadygan.evaluation.scoring import Scoring, scores_at, with_asked
from steadygan.generators.generator import Generator
from steadygan.generators.loading import load, load_translator
from steadygan.generators.prior import Truncation
from steadygan.importing.finetune import configuration as usual
from steadygan.metrics.pairs import LPIPS
from steadygan.metrics.protocol import choose_protocol
from steadygan.pretrained.registry import extractor_type
from steadygan.runs.checkpoint import read_manifest
from steadygan.tasks.choice import build_images
from steadygan.tasks.protocols import protocol_for
from steadygan.tasks.translation import score_translation


def evaluate_bare(
    path: str | Path, checkpoint: Path, truncation: Truncation | None, lpips: Path | None, how: Scoring
) -> dict[str, Any]:
    """Scores the generator of `checkpoint` against the images `how["data"]`. Nothing is recorded, as there is no run.

    Args:
        path: the user's path, for messages.
        checkpoint: from `find_checkpoint`.
        truncation: as in `evaluate`.
        lpips: as in `evaluate`.
        how: as in `evaluate`.

    Raises:
        UserError: no images are given, or they do not fit the generator.
    """
    data = how.get("data")
    if data is None:
        command = command_line("evaluate", path, "--data", "IMAGES")
        raise UserError(f"{path} is a generator without a run: name the real images to score it against: `{command}`")
    manifest = read_manifest(checkpoint, ())
    config = _configuration(manifest, Path(path), data, how)
    images = build_images(config, torch.device("cpu"))
    weights, device = how.get("weights", "ema"), how.get("device", "auto")
    if isinstance(images.train, PairSet):
        if not isinstance(images.heldout, PairSet) or not images.heldout.aligned:
            raise UserError(f"{data} has no test pairs: images of test/A and test/B with the same name form a pair")
        nets = load_translator(checkpoint, device=device, weights=weights).nets
        measure = None if lpips is None else LPIPS(lpips)
        record, _ = score_translation(nets, images.heldout, config, weights=weights, lpips=measure)
        return {"step": manifest["step"], **record}
    generator = load(checkpoint, device=device, weights=weights)
    config = with_asked(_with_classes(config, images.train, generator), how)
    protocol = protocol_for(config, images)
    if protocol is None:
        protocol = choose_protocol(config.data.path, images.train.channels, images.train.size)
    if generator.classes != extractor_type(protocol.extractor).classes:
        protocol = replace(protocol, scores=tuple(name for name in protocol.scores if name != "classes"))
    (record,) = scores_at(None if truncation is None else (truncation,), generator, images, protocol, config, how)
    return record


def _configuration(manifest: Mapping[str, Any], path: Path, data: str | Path, how: Scoring) -> Config:
    """The configuration of a run with this generator and these images."""
    tree = usual(manifest["generator"], manifest.get("critic"), path)
    share = how.get("max_unreadable")
    unreadable = {} if share is None else {"max_unreadable": share}
    tree["name"], tree["train"], tree["augment"] = "bare", {"batch_size": 1}, {}
    tree["data"] |= {"path": str(data), "heldout": 0.0, **unreadable}
    tree["model"]["conditional"] = False  # real images need no labels
    return configuration.validate(tree)


def _with_classes(config: Config, images: ImageSet, generator: Generator) -> Config:
    """Makes the configuration conditional if the images have labels of the generator's classes."""
    conditional = 0 < generator.classes == len(images.class_names)
    return config.model_copy(update={"model": config.model.model_copy(update={"conditional": conditional})})
