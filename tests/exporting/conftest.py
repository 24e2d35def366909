"""A run to export."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import steadygan as package

SETTINGS = ["train.steps=2", "train.batch_size=8", "data.max_images=40", "model.width=2", "eval.num_fake=20"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run of two steps; read-only."""
    return package.train("digits", [*SETTINGS, "train.device=cpu"], out=tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(autouse=True, scope="session")
def no_trace() -> None:
    """torch logs its tracing to the root logger, which pytest captures; that takes most of the time."""
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)
