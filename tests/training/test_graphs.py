"""Phases that are recorded and replayed: all but the recording itself, and that too where there is a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from steadygan import config
from steadygan.objective import TERMS
from steadygan.training.graphs import WARM_UP, Graphs, Mode, Values, choose_mode
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

StateOf = Callable[..., TrainState]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = ("model.width=2", "train.phases=[D,G]")
NARROW = ("model.generator.fmap_max=16", "model.critic.fmap_max=16")
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "cifar10-biggan-icr": ("objective.terms.gp={}", "objective.terms.ortho={}"),
    "cifar10-crbiggan-diffaugment10": ("data.fraction=1",),
    "cifar10-dcgan-dragan": (),
    "cifar10-dcgan-jsreg": (),
    "cifar10-logan": (),
    "celeba128-unet": ("data.size=32",),
    "cifar10-biggan-lecam10": ("data.fraction=1",),
    "cifar10-stylegan2": ("objective.terms.path_length={}", "objective.terms.r1.every=2", *NARROW),
}


class Recorder:
    """In the place of CUDA: a replay does the work again, on the buffers that it was recorded with."""

    recorded = replayed = 0

    def __call__(self, work: Callable[[], Values]) -> Callable[[], Values]:
        self.recorded += 1

        def replay() -> Values:
            self.replayed += 1
            return work()

        return replay


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
    assert used >= TERMS.keys() - of_two_domains


def test_what_waits_is_caught() -> None:
    for wait in (lambda x: float(x.sum()), lambda x: x[x > 0], lambda x: torch.tensor([1.0])):
        with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
            wait(torch.ones(3))


@pytest.mark.parametrize("preset", ["cifar10-biggan-icr", "cifar10-stylegan2"])
def test_replays_train_like_eager_phases(preset: str, state_of: StateOf) -> None:
    """To the bit: with a lazy term, which makes two recordings of D's phase, and a rate that moves."""
    more = (*SMALL, "objective.terms.r1={every: 2}", *(NARROW if "stylegan2" in preset else ()))
    eager, replayed = state_of(preset, *more), state_of(preset, *more)
    recorder = Recorder()
    replayed.graphs = Graphs(recorder)
    for group in replayed.optimizers["D"].param_groups:
        group["lr"] = torch.tensor(group["lr"])
    for count in range(2 * WARM_UP + 3):
        values = []
        for state in (eager, replayed):
            torch.manual_seed(count)
            for group in state.optimizers["D"].param_groups:
                rate = 1e-3 / (1 + count)
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate
            values.append(train_step(state))
        torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(replayed.weights(), eager.weights(), rtol=1e-4, atol=1e-5)
    assert recorder.recorded == 3  # D with and without the lazy term, G
    assert recorder.replayed > recorder.recorded


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
    state.graphs = Graphs(recorder)
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
        ((), CUDA, False, False, "eager"),
        (("train.cuda_graphs=true",), CPU, False, False, "need a CUDA device"),
        (("train.cuda_graphs=true",), CUDA, False, True, "a CUDA graph"),
        (("train.cuda_graphs=true", "train.recompute=true"), CUDA, False, False, "recompute"),
        (("train.compile=true",), CPU, True, False, r"differentiated \(gp\)"),
        (("train.compile=true", "train.cuda_graphs=true"), CUDA, True, False, "left out"),
    ],
)
def test_the_mode_is_chosen_and_says_why(
    settings: tuple[str, ...], device: torch.device, compiled: bool, graphs: bool, reason: str, state_of: StateOf
) -> None:
    terms = state_of("cifar10-dcgan-gp", *SMALL).terms
    mode = choose_mode(config.load("cifar10-dcgan-gp", settings).train, terms, device)
    assert mode[:2] == Mode(compiled, graphs, "")[:2]
    assert re.search(reason, mode.reason)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", OBJECTIVES)
def test_cuda_graphs_have_the_losses_of_eager_phases(preset: str, state_of: StateOf) -> None:
    more = (*SMALL, *OBJECTIVES[preset], "train.device=cuda")
    eager, recorded = state_of(preset, *more), state_of(preset, *more, "train.cuda_graphs=true")
    assert recorded.graphs is not None
    for count in range(2 * WARM_UP + 4):
        torch.manual_seed(count)
        expected = train_step(eager)
        torch.manual_seed(count)
        values = train_step(recorded)
        if count < 2:  # later, rounding has made them two runs
            torch.testing.assert_close(values, expected, rtol=1e-3, atol=1e-4)
    assert all(value.isfinite() for value in values.values())
    assert int(recorded.skipped) == 0
