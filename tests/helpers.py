"""Helpers for several test files that cannot be fixtures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from steadygan.cli import main
from steadygan.training.execution import Execution
from steadygan.training.phases import Objective
from steadygan.training.state import TrainState

SMALLEST = [
    "data.size=16",
    "data.max_images=32",
    "model.width=2",
    "model.latent=4",
    "train.batch_size=8",
    "train.device=cpu",
    "eval.num_fake=20",
]


def tiny_run(*overrides: str) -> list[str]:
    """Settings of the smallest run of digits, with added or replaced settings."""
    return [*SMALLEST, *overrides]


def state_of(**parts: Any) -> TrainState:
    """A `TrainState` whose objective's and execution's fields are given with its own."""

    def taken(kind: type) -> dict[str, Any]:
        return {field.name: parts.pop(field.name) for field in fields(kind) if field.name in parts}

    return TrainState(objective=Objective(**taken(Objective)), execution=Execution(**taken(Execution)), **parts)


def pixels(path: Path) -> tuple[str, tuple[int, int], bytes]:
    """Mode, size and pixels of an image, without its metadata."""
    with Image.open(path) as image:
        return image.mode, image.size, image.tobytes()


class Result(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Result]


def command(*arguments: str | Path) -> int:
    """Runs `steadygan` with these arguments, in this process; its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["steadygan", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
    return int(caught.value.code or 0)
