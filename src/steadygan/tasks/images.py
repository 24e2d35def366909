"""The real images of a run, and the checks that every kind of run makes of them."""

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
"""Scores a run in training: the record for scores.jsonl, and what checkpoints are ranked by (lower is better)."""


@dataclass(frozen=True)
class Images:
    """The real images of a run: those trained on, and those kept away (None when nothing is held out)."""

    train: ImageSet | PairSet
    heldout: ImageSet | PairSet | None

    def facts(self, path: str) -> dict[str, Any]:
        """Their entry in provenance.json; `path` is data.path."""
        heldout, skipped = self.heldout, [*self.train.skipped]
        return {
            "path": path if is_name(path) else str(Path(path).expanduser().resolve()),
            "fingerprint": self.train.fingerprint,
            "train": len(self.train),
            "heldout": 0 if heldout is None else len(heldout),
            "skipped": skipped if heldout is None else skipped + heldout.skipped,
        }


def cache_folder(data: DataConfig) -> Path | None:
    """Where decoded images that do not fit in memory are kept, None with `data.cache` off."""
    return cache_root() / "images" if data.cache else None


def refuse_batch(config: Config, images: int) -> None:
    """Raises `UserError` for a batch of more than all training images."""
    if config.train.batch_size != "auto" and config.train.batch_size > images:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}, but there are only {images} training images in "
            f"{config.data.path}; lower it to at most {images}"
        )
