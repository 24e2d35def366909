"""Whether a run's augmentations leak into its images, and whether these are copies of the training images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from steadygan import config as configuration
from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.errors import UserError
from steadygan.generators.loading import load
from steadygan.metrics.extraction import read
from steadygan.metrics.leak import FEWEST, Augmentation, LeakMeter, as_scores
from steadygan.metrics.memorisation import as_scores as copies_as_scores
from steadygan.metrics.memorisation import memorised
from steadygan.metrics.protocol import Protocol, fit
from steadygan.pretrained.registry import get_extractor
from steadygan.runs.provenance import check_same_data
from steadygan.tasks.choice import build_images
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

FAKES, REALS = 1000, 10_000
"""How many generated images are looked at, and at most how many training images they are compared with."""
HELD_OUT = 0.2
"""Share of the training images kept from the leak's reader where the run itself held out too few."""
SHARE_OF_FAKES = "health"
"""The protocol's name in scores.jsonl."""


def augmentations(config: Config) -> dict[str, Augmentation]:
    """The augmentations that the run's discriminator sees and its reals do not show, each on its own.

    Of consistency terms flip, shift and cutout, where they are in use; of DiffAugment its policies. A flip is none
    where the training images themselves are flipped.
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


def leak_scores(config: Config, fakes: Tensor, train: Tensor, held_out: Tensor | None) -> dict[str, float]:
    """The leak of each of the run's augmentations into fakes, uint8 (N, C, H, W); see `metrics.leak`.

    Without 20 held-out images a fifth of the training images is kept from the reader. Empty where the run augments
    nothing, or has too few images to tell.
    """
    applied = augmentations(config)
    if held_out is None or len(held_out) < FEWEST:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        kept = round(HELD_OUT * len(train))
        train, held_out = train[order[kept:]], train[order[:kept]]
    if not applied or len(held_out) < FEWEST:
        return {}
    return as_scores(LeakMeter(train, held_out, applied).measure(fakes))


def health(path: str | Path, *, num_fake: int = FAKES, weights: Literal["ema", "raw"] = "ema") -> dict[str, Any]:
    """One record of a run's leak and copies, for its scores.jsonl; `step` is that of the checkpoint.

    Copies are counted in the features of the extractor for such images. Raises UserError for a run of another kind, or
    one whose images changed.
    """
    path = Path(path)
    config = configuration.load(path)
    images = build_images(config, torch.device("cpu"))
    check_same_data(path, images.train.fingerprint)
    if not isinstance(images.train, ImageSet) or isinstance(images.heldout, tuple):
        raise UserError(f"{path} translates images: leak and copies are for generators of samples")
    generator = load(path, weights=weights)
    classes = None if not generator.classes else [k % generator.classes for k in range(num_fake)]
    fakes = generator.sample(num_fake, classes=classes, seed=0)
    train = _some(images.train, REALS)
    held_out = _some(images.heldout, REALS) if isinstance(images.heldout, ImageSet) else None
    scores = leak_scores(config, fakes, train, held_out)
    name = "digits" if images.train.channels == 1 else "tiny"
    protocol = fit(Protocol(SHARE_OF_FAKES, name, num_fake), images.train.channels, images.train.size)
    extractor = get_extractor(name)
    features = partial(read, extractor, protocol=protocol)
    scores |= copies_as_scores(memorised(features(images=fakes).features, features(images=train).features))
    made: Mapping[str, Any] = {
        "name": SHARE_OF_FAKES,
        "extractor": name,
        "extractor_sha256": extractor.sha256,
        "num_fake": num_fake,
        "num_real": len(train),
        "num_heldout": 0 if held_out is None else len(held_out),
        "weights": weights,
        "seed": 0,
    }
    return {"step": generator.step, **scores, "protocol": dict(made)}


def _some(images: ImageSet, most: int) -> Tensor:
    """All images, or `most` spread evenly over them, uint8 on the CPU."""
    return images.take(np.linspace(0, len(images) - 1, min(len(images), most)).astype(int)).cpu()
