"""Which protocol a run is scored by, and against which images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steadygan.build import Images, choose_device
from steadygan.config import Config
from steadygan.data import ImageSet, Source, describe, load_images, open_source
from steadygan.data.decoding import MAX_UNREADABLE
from steadygan.errors import UserError
from steadygan.metrics import Protocol, Shard, choose_protocol, fit, get_protocol, score_images
from steadygan.metrics.features import extractor_type
from steadygan.metrics.protocol import Kind


def protocol_for(config: Config, images: Images) -> Protocol | None:
    """The protocol to score a run by: the one asked for, else the one made for the data, None when there is none."""
    name, train = config.eval.protocol, images.train
    if name is None:
        try:
            protocol = choose_protocol(config.data.path, train.channels, train.size)
        except UserError:
            return None
    else:
        try:
            protocol = fit(get_protocol(name), train.channels, train.size)
        except UserError as error:
            raise UserError(f"eval.protocol: {error}") from None
    known = extractor_type(protocol.extractor).classes
    if config.model.conditional and "classes" in protocol.scores and len(train.class_names) != known:
        raise UserError(
            f"eval.protocol={protocol.name} tells {known} classes apart, but {config.data.path} has "
            f"{len(train.class_names)}; set eval.protocol=null"
        )
    return protocol


def real_images(protocol: Protocol, config: Config, images: Images) -> ImageSet:
    """The reals of the protocol's split, of the size and channels that the run was trained on.

    Raises UserError when the split is a test set and `eval.reals` names none, or nothing was held out.
    """
    train = images.train
    assert isinstance(train, ImageSet)
    if protocol.split == "train":
        return train
    if protocol.split == "heldout":
        if not isinstance(images.heldout, ImageSet):
            raise UserError(f"protocol {protocol.name!r} scores against held-out images: set data.heldout")
        return images.heldout
    if protocol.split == "all":
        path = config.data.path
    elif config.eval.reals is None:
        raise UserError(
            f"protocol {protocol.name!r} scores against a test set, which is not among the training images: name a "
            "folder or zip by --reals PATH (in training: eval.reals=PATH)"
        )
    else:
        path = config.eval.reals
    source = open_source(path, size=train.size, channels=train.channels)
    if protocol.split == "all" and len(source) == len(train):
        return train
    return _load(source, config.data.max_unreadable, train.device)


def _load(source: Source, max_unreadable: float, device: str | torch.device = "cpu") -> ImageSet:
    """All images of a source to score against; those that cannot be read are told of, as they change the score."""
    images = load_images(source, np.arange(len(source)), device=device, max_unreadable=max_unreadable)
    if images.skipped:
        named = ", ".join(images.skipped[:5]) + (", …" if len(images.skipped) > 5 else "")
        share = f"{len(images.skipped)} of {len(source)}"
        warnings.warn(f"{source.name}: not scored, as they cannot be read ({share}): {named}", stacklevel=3)
    return images


def evaluate_images(
    fakes: str | Path,
    reals: str | Path,
    *,
    features: str,
    size: int | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    device: str = "auto",
    extractor_weights: Mapping[str, Path] | None = None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Scores one folder or zip of images against another by an extractor's features; no model is needed.

    Takes the Fréchet and kernel distances, precision, recall, density and coverage, and where the extractor tells
    ImageNet's classes apart the Inception score of `fakes`. size: to which both are cropped and resized; by default
    their own. The record is that of `metrics.score_images`. Unreadable images are left out, with a warning; from
    the share `max_unreadable` on they are a UserError, as are fewer than two images, several sizes of which none was
    chosen, and images in colour where the extractor reads grey.
    """
    kind = extractor_type(features)
    if size is not None and size < 1:
        raise UserError(f"--size is the side of the images in pixels, 1 or more, not {size}")
    side = _common_side(str(fakes), str(reals)) if size is None else size
    wants: tuple[Kind, ...] = ("fd", "kd", "is", "prdc") if kind.imagenet else ("fd", "kd", "prdc")
    protocol = Protocol("images", features, num_fake=2, scores=wants, split="test")
    for path in (fakes, reals):
        protocol = fit(protocol, open_source(str(path), size=side).channels, side)

    def load(path: str) -> ImageSet:
        images = _load(open_source(path, size=side, channels=kind.channels), max_unreadable)
        if len(images) < 2:
            raise UserError(f"{path} holds one image that can be read; a distance needs at least 2")
        return images

    return score_images(
        load(str(fakes)),
        load(str(reals)),
        protocol,
        device=choose_device(device),
        extractor_weights=extractor_weights,
        shard=shard,
    )


def _common_side(*paths: str) -> int:
    sizes: dict[tuple[int, int], str] = {}
    for path in paths:
        found = describe(path)["width_height"]
        sizes |= {tuple(extent): path for extent in (found.get("smallest", ()), found.get("largest", ())) if extent}
    if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
        seen = ", ".join(f"{width}×{height} in {path}" for (width, height), path in sizes.items())
        raise UserError(
            f"the images are not squares of one size ({seen}): choose one by --size, to which all are cropped and "
            "resized; it is part of the score"
        )
    side: int = next(iter(sizes))[0]
    return side
