"""Translations after training: a generator of images from its checkpoint, and its scores on pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from steadygan.build import build_generator
from steadygan.config import Config
from steadygan.data import ImageSet, PairSet
from steadygan.data.grid import save_grid
from steadygan.errors import UserError, nearest
from steadygan.metrics.pairs import LPIPS, PairProtocol, pair_record, score_pairs
from steadygan.nets.translating import by_name, generator_name, sheet, translate, translate_tiled
from steadygan.training.checkpoint import MANIFEST, read_manifest, read_weights
from steadygan.training.rundir import RunDirectory

SHEET_ROWS = 12
"""How many pairs a sheet shows in each direction."""


class Translator:
    """The trained generators of a translation, from their checkpoint alone: no data set, no configuration file.

    Attributes: directions ("a2b", …), size (pixels of the training images), channels (1 or 3), step, path.
    """

    def __init__(self, path: Path, device: torch.device, weights: Literal["ema", "raw"] = "ema") -> None:
        manifest = read_manifest(path)
        try:
            description, self.step = manifest["generator"], int(manifest["step"])
            nets, _ = build_generator(description)
            self.directions: tuple[str, ...] = tuple(map(str, description["directions"]))
            self.size, self.channels = int(description["size"]), int(description["channels"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"{path}: the manifest's description of the generators is damaged: {error}") from error
        assert isinstance(nets, nn.ModuleDict)
        prefix = "G_ema." if weights == "ema" else ""
        wanted = {f"{prefix}{key}": key for key in nets.state_dict()}
        try:
            nets.load_state_dict({wanted[key]: value for key, value in read_weights(path).items() if key in wanted})
        except RuntimeError as error:
            raise UserError(f"{path}: the weights don't fit the generators the manifest describes") from error
        self.nets, self.path = nets.to(device).eval().requires_grad_(False), path

    def translate(
        self, images: Tensor | np.ndarray, direction: str = "a2b", *, tile: int = 1024, overlap: int = 128
    ) -> Tensor:
        """Uint8 images (N, C, H, W), or one (C, H, W), in the other domain: as many, of their size, on the CPU.

        Images of any size the network admits; larger ones than `tile` in overlapping tiles (`translate_tiled`). Raises
        `UserError` for a direction that was not trained, or images of other channels.
        """
        if direction not in self.directions:
            raise UserError(
                f"{self.path} was not trained for direction {direction!r}; {nearest(direction, self.directions)}"
            )
        images = torch.as_tensor(images)
        if images.dtype != torch.uint8 or images.dim() not in (3, 4) or images.shape[-3] != self.channels:
            raise UserError(
                f"translate takes uint8 images of {self.channels} channels, (N, C, H, W) or (C, H, W), "
                f"not {images.dtype} {tuple(images.shape)}"
            )
        net = self.nets[generator_name(direction)]
        if images.dim() == 3:
            return translate_tiled(net, images, tile=tile, overlap=overlap)
        if max(images.shape[2:]) <= tile:
            return translate(net, images)
        return torch.stack([translate_tiled(net, image, tile=tile, overlap=overlap) for image in images])


def is_translation(checkpoint: Path) -> bool:
    """Whether a checkpoint says that its generators make images of images."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["generator"].get("directions"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # whoever loads it says what is wrong


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
