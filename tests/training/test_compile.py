"""`train.compile` with the real compiler."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from steadygan.training.state import TrainState
from steadygan.training.step import train_step

SHORT = (
    "digits",
    "model.kind=short_networks:FAMILY",
    "data.size=16",
    "model.width=4",
    "train.winograd=false",
    "objective.terms={}",
)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch while it traces
def test_inductors_networks_train_as_eager_ones_do(
    state_of: Callable[..., TrainState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real code is compiled, of networks of two layers, since each takes the compiler seconds.

    `test_arithmetic` has BigGAN traced, without this compiler.
    """
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    eager, compiled = state_of(*SHORT), state_of(*SHORT, "train.compile=true")
    assert set(compiled.execution.compiled) == {"D", "G"}
    assert "compiled" in compiled.execution.mode
    for _ in range(2):
        torch.testing.assert_close(train_step(compiled), train_step(eager), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled.weights(), eager.weights(), rtol=1e-3, atol=1e-4)
    assert list(tmp_path.rglob("*.so")), "something was compiled"
