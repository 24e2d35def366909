"""Recorded and replayed phases: by a recorder of operators, and by CUDA graphs on a GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from training.objectives import OBJECTIVES, SMALL
from training.recorder import Recorder

from steadygan import config
from steadygan.generators.prior import Prior
from steadygan.objective.registry import TERMS
from steadygan.training.graphs import WARM_UP, Graphs, Mode, choose_mode
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

StateOf = Callable[..., TrainState]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would be waited for: its numbers read, sizes that depend on them, data from the host."""

    FORBIDDEN = frozenset(
        ("_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "lift_fresh")
    )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.FORBIDDEN or masks:
            raise AssertionError(f"the step waits for the device in {name}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("preset", OBJECTIVES)
def test_no_objective_waits_for_the_device(preset: str, state_of: StateOf) -> None:
    state = state_of(preset, *SMALL, *OBJECTIVES[preset])
    train_step(state)
    with NoWaiting():
        train_step(state)


def test_these_objectives_hold_every_term() -> None:
    used = {name for preset, more in OBJECTIVES.items() for name in config.load(preset, more).objective.terms}
    of_two_domains = {"cycle", "synthesised", "identity", "paired"}  # see test_translation
    of_fastgan = {"two_scales", "reconstruction"}
    assert used >= TERMS.keys() - of_two_domains - of_fastgan


def test_what_waits_is_caught() -> None:
    for wait in (lambda x: float(x.sum()), lambda x: x[x > 0], lambda x: torch.tensor([1.0])):
        with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
            wait(torch.ones(3))


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices made of Python",
)
def test_every_objective_stays_on_the_device() -> None:
    process = subprocess.run([sys.executable, Path(__file__).with_name("fake_gpu.py")], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.split() == list(OBJECTIVES)


@pytest.mark.parametrize(
    ("preset", "device", "compiled"),
    [
        *((preset, "cpu", False) for preset in OBJECTIVES),
        *(pytest.param(preset, "cuda", False, marks=needs_gpu) for preset in OBJECTIVES),
        pytest.param("cifar10-biggan-icr", "cuda", True, marks=needs_gpu),
    ],
)
def test_replays_train_like_eager_phases(preset: str, device: str, compiled: bool, state_of: StateOf) -> None:
    """With a lazy term, which makes two recordings of D's phase, and a rate that moves; on a GPU, step by step."""
    steady = [f"optim.{player}.eps=0.001" for player in "dg"]  # else Adam makes whole steps of rounding
    more = (*SMALL, *OBJECTIVES[preset], *steady, "objective.terms.r1={every: 2}", "train.winograd=false")
    quick = (f"train.device={device}", f"train.compile={compiled}", "train.cuda_graphs=true")
    eager, replayed = state_of(preset, *more, quick[0]), state_of(preset, *more, *quick)
    recorder = Recorder()
    if device == "cpu":
        replayed.execution.graphs = Graphs(recorder)
        for group in replayed.optimizers["D"].param_groups:
            group["lr"] = torch.tensor(group["lr"])
    assert replayed.execution.graphs is not None
    close = {"rtol": 1e-4, "atol": 1e-5} if device == "cpu" else {"rtol": 1e-2, "atol": 1e-3}
    for count in range(2 * WARM_UP + 4):
        if device != "cpu" or preset == "cifar10-logan":  # its latent step multiplies rounding
            follow(replayed, eager)
        values = []
        for state in (eager, replayed):
            torch.manual_seed(count)
            for group in state.optimizers["D"].param_groups:
                rate = 1e-3 / (1 + count)
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
            values.append(train_step(state))
        torch.testing.assert_close(*values, **close)
        torch.testing.assert_close(replayed.weights(), eager.weights(), **close)
    phases = 4 if "stylegan2" in preset else 3  # D with and without the lazy term, G, there with and without one too
    assert len(replayed.execution.graphs._recorded) == phases
    assert int(replayed.skipped) == int(eager.skipped) == 0
    if device == "cpu":
        assert recorder.recorded == phases
        assert recorder.replayed >= 2 * phases


@torch.no_grad()
def follow(state: TrainState, other: TrainState) -> None:
    """Copies the persistent state of `other` into `state`, so earlier rounding does not count."""
    for ours, theirs in zip(lasting(state), lasting(other), strict=True):
        ours.copy_(theirs)
    state.generator.set_state(other.generator.get_state())


def lasting(state: TrainState) -> list[Tensor]:
    moments = [s for o in state.optimizers.values() for s in o.state.values()]
    tables = [state.weights(), *(memory.state_dict() for memory in state.memories.values()), *moments]
    return [tensor for table in tables for tensor in table.values()]


def test_a_replay_runs_no_python_of_the_phase(state_of: StateOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with CUDA graphs: whatever a phase takes from the host, a recording keeps."""
    state = state_of("digits", *SMALL)
    state.execution.graphs = Graphs(Recorder())
    seen = []
    latents = Prior.latents
    monkeypatch.setattr(Prior, "latents", lambda *args: seen.append(1) or latents(*args))
    for _ in range(WARM_UP + 3):
        run_phase(state, "D")
    assert len(seen) == WARM_UP + 1


def test_values_of_a_replay_are_not_overwritten_by_the_next() -> None:
    value = torch.zeros(())
    graphs = Graphs(lambda work: lambda: {"loss": value.add_(1)})
    results = [graphs.run("D", lambda batches: {"loss": torch.zeros(())}, []) for _ in range(WARM_UP + 2)]
    assert [float(result["loss"]) for result in results] == [0.0] * WARM_UP + [1.0, 2.0]


def test_a_factor_that_moves_is_never_recorded() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder)
    for step in range(200):
        graphs.run(("D", 0.99**step), lambda batches: {}, [])
    assert recorder.recorded == 0
    assert len(graphs._seen) < 100


def test_resuming_forgets_recordings_and_keeps_this_runs_optimiser_flags(state_of: StateOf) -> None:
    saved = state_of("digits", *SMALL)
    train_step(saved)
    state = state_of("digits", *SMALL)
    recorder = Recorder()
    state.execution.graphs = Graphs(recorder)
    rate = torch.tensor(1e-3)
    state.optimizers["D"].param_groups[0]["lr"] = rate
    for _ in range(WARM_UP + 1):
        run_phase(state, "D")
    state.load_state_dict(saved.state_dict())
    assert state.optimizers["D"].param_groups[0]["lr"] is rate
    run_phase(state, "D")
    assert recorder.recorded == recorder.replayed == 1


@pytest.mark.parametrize(
    ("settings", "device", "compiled", "graphs", "reason"),
    [
        ((), CUDA, False, False, "^eager$"),
        (("train.cuda_graphs=true",), CPU, False, False, "^eager; no CUDA graphs: they need a CUDA device"),
        (("train.cuda_graphs=true",), CUDA, False, True, "^eager; each phase a CUDA graph"),
        (("train.cuda_graphs=true", "train.recompute=true"), CUDA, False, False, "no CUDA graphs: .*recompute"),
        (("train.cuda_graphs=true", "train.instruments_every=9"), CUDA, False, False, "no CUDA graphs: .*gradients"),
        (("train.compile=true",), CPU, True, False, r"^networks compiled, .*differentiated \(gp\)$"),
        (("train.compile=true", "train.cuda_graphs=true"), CUDA, True, True, "compiled.*; each phase a CUDA graph"),
    ],
)
def test_the_mode_is_chosen_and_says_why(
    settings: tuple[str, ...], device: torch.device, compiled: bool, graphs: bool, reason: str, state_of: StateOf
) -> None:
    terms = state_of("cifar10-dcgan-gp", *SMALL).objective.terms
    mode = choose_mode(config.load("cifar10-dcgan-gp", settings).train, terms, device)
    assert mode[:2] == Mode(compiled, graphs, "")[:2]
    assert re.search(reason, mode.reason)
