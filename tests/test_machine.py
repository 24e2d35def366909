"""The machine's limits, and a run's use of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run

import steadygan
from steadygan import build, machine
from steadygan import config as configuration
from steadygan.errors import UserError
from steadygan.kernels.winograd.layer import Winograd
from steadygan.tasks.choice import build_images, task_of
from steadygan.training import execution

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "has", "given"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, None),
        ("float32", True, None),
        ("float32", False, None),
        ("bfloat16", True, torch.bfloat16),
        ("float16", False, torch.float16),
    ],
)
def test_precision_follows_the_hardware_unless_told(
    asked: str, has: bool, given: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda device: has)
    assert machine.choose_precision(asked, CPU) is given


def test_bfloat16_without_units_for_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda device: False)
    with pytest.raises(UserError, match=r"train\.precision=bfloat16.*train\.precision=auto"):
        machine.choose_precision("bfloat16", CPU)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (None, "Winograd in {} convolutions (compiled kernels)"),
        ("no C compiler (cc)", "Winograd in no convolution (PyTorch operators: no C compiler (cc))"),
    ],
)
def test_a_run_says_by_what_it_convolves(reason: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "obstacle", lambda: reason)
    overrides = [
        "model.kind=resnet",
        "model.width=24",
        "train.device=cpu",
        "train.precision=float32",
        "data.max_images=64",
    ]
    config = configuration.load("digits", overrides)
    state = build.build_state(task_of(config), build_images(config, CPU).train, CPU)
    nets = state.nets.values()
    layers = [
        layer for net in nets for layer in net.modules() if isinstance(layer, Winograd) and layer.suits_winograd()
    ]
    assert state.execution.mode.endswith(f"; {said.format(len(layers))}")
    assert {layer.winograd for layer in layers} == {reason is None}


def test_tf32_and_autotuning_are_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    try:
        for tf32, autotune in ((True, False), (False, True)):
            machine.prepare(torch.device("cuda:1"), tf32=tf32, autotune=autotune)
            assert torch.backends.cuda.matmul.allow_tf32 is tf32
            assert cudnn.allow_tf32 is tf32
            assert cudnn.benchmark is autotune
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]
    assert current == [1, 1]


def test_training_from_python_leaves_the_process_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "keep_freed_memory", lambda: pytest.fail("the allocator is not the library's"))
    torch.manual_seed(5)
    before, within = (torch.get_rng_state(), torch.get_num_threads()), []

    def look(_: Any) -> None:
        within.append((torch.get_rng_state(), torch.get_num_threads()))

    settings = tiny_run("train.steps=1", f"train.threads={before[1] + 1}")
    steadygan.train("digits", settings, out=tmp_path / "run", on_step=look)
    ((state, threads),) = within
    assert (torch.equal(state, before[0]), threads) == (False, before[1] + 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_all_that_is_prepared_is_restored() -> None:
    cudnn = torch.backends.cudnn
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    with machine.at_work("cpu", tf32=True, autotune=True, allocator=False) as device:
        assert device == CPU
        torch.manual_seed(7)
        torch.set_float32_matmul_precision("medium")
        cudnn.allow_tf32, cudnn.benchmark = not before[2], not before[3]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark) == before[1:]
