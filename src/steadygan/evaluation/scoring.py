"""Which protocol a run is scored by, and against which images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan.config import Config
from steadygan.data.images import ImageSet, load_images
from steadygan.data.pair_images import PairSet
from steadygan.data.source import Source, open_source
from steadygan.errors import UserError
from steadygan.evaluation.translation import score_translation
from steadygan.generators.sampling import sample
from steadygan.metrics.evaluation import headline, score
from steadygan.metrics.protocol import Protocol, choose_protocol, fit, get_protocol
from steadygan.parallel.replicas import Replicas
from steadygan.pretrained.registry import extractor_type
from steadygan.tasks.images import Images
from steadygan.training.state import TrainState


def protocol_for(config: Config, images: Images) -> Protocol | None:
    """The protocol to score a run by: the one asked for, else the one for the data; None for one image, with no spread.

    Unasked, what needs more images than there are is left out.
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


def scorer(
    config: Config, images: Images, replicas: Replicas
) -> Callable[[TrainState], tuple[dict[str, Any], float]] | None:
    """What scores the averaged weights of this run in training, if anything can.

    Raises UserError at once when the weights of the protocol's extractor are absent, not after hours of training.
    """
    test = images.heldout
    if isinstance(images.train, PairSet):
        if not isinstance(test, PairSet) or not test.aligned:
            return None
        return lambda state: score_translation(state.ema.net, test, config)
    protocol = protocol_for(config, images)
    if protocol is None:
        return None
    extractor_type(protocol.extractor).find(None)
    reals = real_images(protocol, config, images)
    # The averaged weights have standing statistics when they are scored.
    protocol = replace(protocol, batch_norm="standing", num_fake=config.eval.num_fake or protocol.num_fake)
    return lambda state: score_state(state, images, reals, protocol, replicas)


def score_state(
    state: TrainState, images: Images, reals: ImageSet, protocol: Protocol, replicas: Replicas
) -> tuple[dict[str, Any], float]:
    """Scores the averaged generator of a run in training; touches nothing that training reads.

    With several processes the first calls this, inside `Replicas.lead`, and each makes its part of the fakes.
    """
    record = score(
        replicas.fakes,
        reals,
        None,
        protocol,
        classes=len(images.train.class_names) if state.prior.label_pool is not None else 0,
        fingerprint=images.train.fingerprint,
        device=state.device,
    )
    return record, headline(record)


def fakes(state: TrainState, num: int, labels: Tensor | None, seed: int, part: Tensor) -> Tensor:
    """Of `num` images by the averaged generator of a run in training those of these numbers."""
    return sample(state.ema.net, state.prior, num, labels=labels, seed=seed, part=part)
