"""Health of a run: do augmentations leak into its images, and are these copies of training images?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.generators.loading import load
from steadygan.machine import choose_device
from steadygan.metrics.extraction import read
from steadygan.metrics.leak import FEWEST, READER, Augmentation, Leak, LeakMeter
from steadygan.metrics.leak import as_scores as leaks_as_scores
from steadygan.metrics.memorisation import Memorised, memorised
from steadygan.metrics.memorisation import as_scores as copies_as_scores
from steadygan.metrics.protocol import choose_protocol
from steadygan.pretrained.registry import get_extractor
from steadygan.runs.located import load_located
from steadygan.runs.provenance import check_same_data
from steadygan.tasks.choice import build_images
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

FAKES, REALS = 1000, 10_000
"""Number of generated images, and maximum number of training images they are compared with."""
HELD_OUT = 0.2
"""Fraction of training images held out from the leak reader if the run held out too few."""
NAME = "health"
"""The protocol's name in scores.jsonl."""


def augmentations(config: Config) -> dict[str, Augmentation]:
    """The augmentations applied to D's inputs but absent from the reals, each separately.

    Flip, shift and cutout of consistency terms, and DiffAugment's policies. A flip does not count if training images
    are flipped.
    """
    found: dict[str, Augmentation] = {}
    consistency = config.augment.consistency
    if {"cr", "bcr"} & set(config.objective.terms):
        off = {"flip": 0.0, "shift": 0.0, "cutout": 0.0}
        for name in off:
            if getattr(consistency, name) and not (name == "flip" and config.data.flip):
                alone = off | {name: getattr(consistency, name)}
                found[name] = Consistency(**alone, padding=consistency.padding)
    for policy in config.augment.diffaugment.policy:
        found[policy] = DiffAugment((policy,))
    return found


@dataclass(frozen=True)
class Health:
    """Fractions of a run's images that show each of its augmentations, and that are copies of training images.

    Attributes:
        step: the checkpoint's step.
        made: the `protocol` of the record.
    """

    leaks: Mapping[str, Leak]
    copies: Memorised
    step: int
    made: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        path: str | Path,
        *,
        num_fake: int | None = None,
        weights: Literal["ema", "raw"] = "ema",
        device: str = "auto",
        data: str | Path | None = None,
    ) -> Health:
        """Measures the health of a run's best (else newest) checkpoint.

        Copies are detected in features of the data's default extractor.

        Args:
            path: the run directory.
            num_fake: number of fakes; None: 1,000.
            weights: "ema" for the averaged generator, "raw" for the trained one.
            device: auto, cpu, cuda or cuda:1.
            data: the images' new path, if they moved.

        Raises:
            UserError: the run is a translation, or its images changed.
        """
        path, num_fake = Path(path), num_fake or FAKES
        config = load_located(path, data=data)
        if config.data.domains is not None:
            raise UserError(f"{path} translates images: leak and copies are measured only for generators from latents")
        images = build_images(config, torch.device("cpu"))
        check_same_data(path, images.train.fingerprint)
        assert isinstance(images.train, ImageSet)
        assert not isinstance(images.heldout, PairSet)
        generator = load(path, device=device, weights=weights)
        fakes = generator.sample(num_fake, seed=0)
        train = _some(images.train)
        held_out = None if images.heldout is None else _some(images.heldout)
        protocol = choose_protocol(config.data.path, images.train.channels, images.train.size)
        extractor = get_extractor(protocol.extractor, choose_device(device))
        copies = memorised(*(read(extractor, side, protocol).features for side in (fakes, train)))
        made = {
            "name": NAME,
            "reader": READER,
            "extractor": extractor.name,
            "extractor_sha256": extractor.sha256,
            "num_fake": num_fake,
            "num_real": len(train),
            "split": "train",
            "num_heldout": 0 if held_out is None else len(held_out),
            "weights": weights,
            "seed": 0,
        }
        return cls(leaks(config, fakes, train, held_out), copies, generator.step, made)

    def record(self) -> dict[str, Any]:
        """A line for scores.jsonl."""
        scores = leaks_as_scores(self.leaks) | copies_as_scores(self.copies)
        return {"step": self.step, **scores, "protocol": dict(self.made)}


def leaks(config: Config, fakes: Tensor, train: Tensor, held_out: Tensor | None) -> dict[str, Leak]:
    """Measures how much each of the run's augmentations leaks into its fakes; see `metrics.leak`.

    Args:
        config: the run's configuration.
        fakes: uint8 (N, C, H, W).
        train: uint8 (M, C, H, W), the training images.
        held_out: uint8 (K, C, H, W); if fewer than 20, a fifth of the training images is held out from the reader
        instead.

    Returns:
        The leak by augmentation; empty without augmentations, or with too few images.
    """
    applied = augmentations(config)
    if held_out is None or len(held_out) < FEWEST:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        kept = round(HELD_OUT * len(train))
        train, held_out = train[order[kept:]], train[order[:kept]]
    if not applied or len(held_out) < FEWEST:
        return {}
    return LeakMeter(train, held_out, applied).measure(fakes)


def _some(images: ImageSet) -> Tensor:
    """All images, or 10,000 evenly spaced ones, uint8 on the CPU."""
    return images.take(np.linspace(0, len(images) - 1, min(len(images), REALS)).astype(int)).cpu()
