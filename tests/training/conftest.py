"""Fixtures for several test files of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from steadygan import build, config
from steadygan.data.images import load_images
from steadygan.data.source import Source
from steadygan.machine import choose_device
from steadygan.tasks.choice import task_of
from steadygan.training.state import TrainState

BATCH = 4


@pytest.fixture(scope="session")
def state_of() -> Callable[..., TrainState]:
    """The state of a preset, with overrides, on batches of 4 from 8 random images of 3 classes, in float32."""
    return build_state


def build_state(preset: str, *overrides: str) -> TrainState:
    cfg = build.resolve(config.load(preset, [f"train.batch_size={BATCH}", "train.precision=float32", *overrides]))
    size, channels = cfg.data.size, cfg.data.channels or 3
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(2 * BATCH, channels, size, size), dtype=np.uint8)
    labels = rng.integers(3, size=2 * BATCH)
    source, device = (
        Source("noise", size, channels, tuple("abc"), labels, images=pixels),
        choose_device(cfg.train.device),
    )
    return build.build_state(task_of(cfg), load_images(source, np.arange(2 * BATCH), device=device), device)
