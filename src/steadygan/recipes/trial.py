"""Builds a run for images that are not read yet, so that its mistakes are found before anything is timed."""

from __future__ import annotations

import numpy as np
import torch

from steadygan.build import build_state, resolve
from steadygan.config import Config
from steadygan.data.images import load_images
from steadygan.data.source import Source
from steadygan.data.split import split
from steadygan.pretrained.registry import extractor_type
from steadygan.recipes.look import Look
from steadygan.tasks.choice import task_of
from steadygan.tasks.images import Images, refuse_batch, refuse_unlabelled
from steadygan.tasks.protocols import protocol_for
from steadygan.trackers import clients


def check_run(config: Config, look: Look, device: torch.device) -> None:
    """Builds the networks, terms and protocol of a run, with black images in place of its own.

    Args:
        config: the run.
        look: its images, of which some are held out.
        device: where it trains.

    Raises:
        UserError: training would refuse its settings.
    """
    data, names = config.data, tuple(look.classes)
    clients.check(config.train.report)
    refuse_unlabelled(config, labelled=bool(names))
    refuse_batch(config, len(split(look.count, data.heldout, data.fraction, data.seed, data.max_images)[0]))
    config = resolve(config)
    batch = config.train.batch
    channels = data.channels or look.channels
    black = np.zeros((batch, channels, data.size, data.size), np.uint8)
    labels = np.arange(batch) % len(names) if names else None
    source = Source("black images", data.size, channels, names, labels, images=black)
    images = load_images(source, np.arange(batch), device=device)
    protocol = protocol_for(config, Images(images, None))
    if protocol is not None:
        extractor_type(protocol.extractor).find(None)
    with torch.random.fork_rng(devices=[]):
        build_state(task_of(config), images, device)
