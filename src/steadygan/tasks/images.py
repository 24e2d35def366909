"""The images a configuration names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steadygan.config import Config, DataConfig
from steadygan.data.containers.registry import is_name
from steadygan.data.domains import open_domains
from steadygan.data.images import ImageSet, load_images
from steadygan.data.pair_images import PairSet, choose, load_domains
from steadygan.data.source import open_source
from steadygan.data.split import split
from steadygan.errors import UserError
from steadygan.files import cache_root
from steadygan.nets.registry import TRANSLATORS

Notify = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """The real images of a run: those trained on, and those kept away (None when nothing is held out)."""

    train: ImageSet | PairSet
    heldout: ImageSet | PairSet | None

    def facts(self, path: str) -> dict[str, Any]:
        """What provenance.json says of them, read from `path` (data.path)."""
        heldout, skipped = self.heldout, [*self.train.skipped]
        return {
            "path": path if is_name(path) else str(Path(path).expanduser().resolve()),
            "fingerprint": self.train.fingerprint,
            "train": len(self.train),
            "heldout": 0 if heldout is None else len(heldout),
            "skipped": skipped if heldout is None else skipped + heldout.skipped,
        }


def build_images(config: Config, device: torch.device, notify: Notify | None = None) -> Images:
    """Opens, splits and loads the data."""
    data = config.data
    if data.domains is not None:
        return build_domains(config, device, notify)
    source = open_source(data.path, size=data.size, channels=data.channels, root=data.root)
    if config.model.conditional and source.labels is None:
        raise UserError(
            f"model.conditional needs labels, but {data.path} has none: sort the images into class folders, add a "
            "dataset.json, or set model.conditional=false"
        )
    train, heldout = split(len(source), data.heldout, data.fraction, data.seed, data.max_images)
    _refuse_batch(config, len(train))
    load = partial(
        load_images,
        source,
        device=device,
        cache=_cache_folder(data),
        max_unreadable=data.max_unreadable,
        total=len(train) + len(heldout),
    )
    return Images(load(train, progress=notify), load(heldout) if len(heldout) else None)


def build_domains(config: Config, device: torch.device, notify: Notify | None = None) -> Images:
    """Opens and loads the two domains of a translation; held out is the test split, or a share of the training's."""
    data, paired = config.data, config.data.domains == "paired"
    load_size = round(data.size * data.jitter)
    splits = open_domains(
        data.path, size=data.size, channels=data.channels, paired=paired, fit=data.fit, load_size=load_size
    )
    share = 0.0 if "test" in splits else data.heldout
    train, heldout = choose(
        splits["train"], paired, heldout=share, fraction=data.fraction, seed=data.seed, max_images=data.max_images
    )
    _refuse_batch(config, min(map(len, train.values())))
    rest, belong, part = splits["train"], paired, "heldout"
    if "test" in splits:
        rest, belong, part = splits["test"], splits["test"].aligned, "test"
        heldout = {"a": np.arange(len(rest.a)), "b": np.arange(len(rest.b))}
    load = partial(
        load_domains,
        size=data.size,
        device=device,
        cache=_cache_folder(data),
        max_unreadable=data.max_unreadable,
        total={name: len(train[name]) + len(heldout[name]) for name in train},
    )
    together = load(splits["train"], train, paired=paired, progress=notify)
    if not all(map(len, heldout.values())):
        return Images(together, None)
    return Images(together, load(rest, heldout, paired=belong, part=part))


def _cache_folder(data: DataConfig) -> Path | None:
    return cache_root() / "images" if data.cache else None


def _refuse_batch(config: Config, images: int) -> None:
    if config.train.batch_size > images:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}, but there are only {images} training images in "
            f"{config.data.path}; lower it to at most {images}"
        )


def describe_generator(config: Config, images: ImageSet | PairSet) -> dict[str, Any]:
    """All that is needed to build the generator again, in plain JSON values; kept in every checkpoint."""
    model = config.model
    classes = len(images.class_names) if model.conditional else 0
    return {
        "kind": model.kind,
        "size": images.size,
        "channels": images.channels,
        "classes": classes,
        "latent": model.latent,
        "width": model.width,
        "options": dict(model.generator),
        "prior": model.prior,
        "class_names": list(images.class_names) if classes else [],
        **({"directions": list(model.directions), "latent": 0} if model.kind in TRANSLATORS else {}),
    }
