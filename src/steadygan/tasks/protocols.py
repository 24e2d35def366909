"""The protocol of a run's scores, and its real images."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch

from steadygan.config import Config
from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import Source, open_source
from steadygan.errors import UserError
from steadygan.metrics.protocol import Protocol, choose_protocol, fit, get_protocol
from steadygan.pretrained.registry import extractor_type
from steadygan.tasks.images import Images


def protocol_for(config: Config, images: Images) -> Protocol | None:
    """The protocol of a run: the requested one, else the data's; None for a single image, which has no variance.

    If it was not requested, metrics that need more images than available are dropped.

    Raises:
        UserError: the protocol's classes differ from the data's.
    """
    name, train = config.eval.protocol, images.train
    if name is None:
        if len(train) < 2:
            return None
        protocol = choose_protocol(config.data.path, train.channels, train.size)
        if min(len(train), config.eval.num_fake or protocol.num_fake) <= protocol.neighbours:
            protocol = replace(protocol, scores=tuple(kind for kind in protocol.scores if kind != "prdc"))
    else:
        try:
            protocol = fit(get_protocol(name), train.channels, train.size)
        except UserError as error:
            raise UserError(f"eval.protocol: {error}") from None
    if more := [name for name in config.eval.metrics if name not in protocol.scores]:
        protocol = replace(protocol, scores=(*protocol.scores, *more))
    known = extractor_type(protocol.extractor).classes
    if config.model.conditional and "classes" in protocol.scores and len(train.class_names) != known:
        raise UserError(
            f"eval.protocol={protocol.name} has {known} classes, but {config.data.path} has "
            f"{len(train.class_names)}; set eval.protocol=null"
        )
    return protocol


def real_images(protocol: Protocol, config: Config, images: Images) -> ImageSet:
    """The reals of the protocol's split, with the size and channels of training.

    Raises UserError if the split is a test set and `eval.reals` is not set, or if nothing was held out.
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
    source = open_source(path, size=train.size, channels=train.channels, bits=config.data.bits)
    if protocol.split == "all" and len(source) == len(train):
        return train
    return load_all(source, config.data.max_unreadable, train.device)


def load_all(source: Source, max_unreadable: float, device: str | torch.device = "cpu") -> ImageSet:
    """Loads all images of a source for scoring; reports unreadable ones, as they change the score."""
    images = load_images(source, np.arange(len(source)), device=device, max_unreadable=max_unreadable)
    if images.skipped:
        named = ", ".join(images.skipped[:5]) + (", …" if len(images.skipped) > 5 else "")
        share = f"{len(images.skipped)} of {len(source)}"
        warnings.warn(f"{source.name}: skipped, as they cannot be read ({share}): {named}", stacklevel=3)
    return images
