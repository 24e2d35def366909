"""The real images of a run, and checks shared by all kinds of runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steadygan.config import Config, DataConfig
from steadygan.data.containers.registry import is_name
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.files import cache_root
from steadygan.training.state import TrainState

Notify = Callable[[int, int], None]
"""Called with the number of images read and their total."""

Scorer = Callable[[TrainState], tuple[dict[str, Any], float]]
"""Scores a run in training: returns the record for scores.jsonl and the value that ranks checkpoints (lower is
better)."""


@dataclass(frozen=True)
class Images:
    """The real images of a run: training images, and held-out images (None if there are none)."""

    train: ImageSet | PairSet
    heldout: ImageSet | PairSet | None

    def facts(self, path: str) -> dict[str, Any]:
        """The entry for provenance.json; `path` is data.path."""
        heldout, skipped = self.heldout, [*self.train.skipped]
        return {
            "path": path if is_name(path) else str(Path(path).expanduser().resolve()),
            "fingerprint": self.train.fingerprint,
            "train": len(self.train),
            "heldout": 0 if heldout is None else len(heldout),
            "skipped": skipped if heldout is None else skipped + heldout.skipped,
        }


def cache_folder(data: DataConfig) -> Path | None:
    """The folder for decoded images that do not fit in memory; None with `data.cache` off."""
    return cache_root() / "images" if data.cache else None


def refuse_batch(config: Config, images: int) -> None:
    """Raises `UserError` if a batch is larger than the training set."""
    if config.train.batch_size != "auto" and config.train.batch_size > images:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}, but there are only {images} training images in "
            f"{config.data.path}; lower it to at most {images}"
        )


def refuse_unlabelled(config: Config, *, labelled: bool) -> None:
    """Raises `UserError` if classes are to be learnt from images without labels."""
    if config.model.conditional and not labelled:
        raise UserError(
            f"model.conditional needs labels, but {config.data.path} has none: sort the images into class folders, "
            "add a dataset.json, or set model.conditional=false"
        )
