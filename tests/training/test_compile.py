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

TINY = (
    "digits",
    "data.size=16",
    "data.max_images=24",
    "model.width=2",
    "train.batch_size=4",
    "train.precision=float32",
)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="Inductor needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch while it traces
def test_inductors_networks_train_as_eager_ones_do(
    state_of: Callable[..., TrainState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real code is compiled, of networks as small as they come and without regularisers, so that it is little."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain = ("objective.terms={}", "model.conditional=false", "train.winograd=false")
    eager, compiled = state_of(*TINY, *plain), state_of(*TINY, *plain, "train.compile=true")
    assert set(compiled.execution.compiled) == {"D", "G"}
    assert "compiled" in compiled.execution.mode
    for _ in range(2):
        torch.testing.assert_close(train_step(compiled), train_step(eager), rtol=1e-3, atol=1e-4)
    assert list(tmp_path.rglob("*.so")), "something was compiled"
