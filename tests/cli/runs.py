"""The smallest run, and folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers import tiny_run
from PIL import Image

TINY = tiny_run("train.log_every=1", "train.sample_every=2", "train.checkpoint_every=2", "train.steps=2")


def folder(path: Path, count: int = 16, *, classes: int = 1, damaged: int = 0) -> Path:
    """A folder of random grey images, one folder per class; some files are not images."""
    rng = np.random.default_rng(0)
    for index in range(count):
        file = path / (f"class{index % classes}" if classes > 1 else "") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(file)
        if index < damaged:
            file.write_bytes(file.read_bytes()[:60])
    return path
