"""Out of memory in a phase: the run continues with smaller micro-batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import load_file
from torch import nn

import steadygan
from steadygan.errors import UserError
from steadygan.training import step as update_step
from steadygan.training.memory import ran_out
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase, train_step

Build = Callable[..., TrainState]
TINY = tiny_run("data.channels=3", "train.log_every=1", "train.checkpoint_every=3", "train.steps=6")
# Batch norms, singular vectors, averages that terms and G remember, and noise of torch's own generator.
REMEMBERING = {
    "dcgan": ("model.kind=dcgan", "objective.terms={bcr: {}, lecam: {start: 0}}", "train.batch_size=8"),
    "stylegan2": (
        "model.kind=stylegan2",
        "objective.loss=non-saturating",
        "objective.terms={r1: {gamma: 1}, path_length: {}}",
        "optim.lazy=apart",
        "train.batch_size=8",
    ),
}


def out_of_memory(net: nn.Module, *calls: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
    """Fails these calls (from 0) of a network, after it has changed its buffers."""
    count = [-1]

    def fail(*_: object) -> None:
        count[0] += 1
        if count[0] in calls:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total capacity of …")

    net.register_forward_hook(fail)


@pytest.mark.parametrize("kind", REMEMBERING)
@pytest.mark.parametrize("network", ["G", "D"])
def test_from_the_phase_where_memory_ran_out_the_run_is_one_of_smaller_parts(
    state_of: Build, kind: str, network: str
) -> None:
    options = ("data.size=16", "model.width=4", "model.latent=8", "model.conditional=false", *REMEMBERING[kind])
    first, second = state_of("digits", *options), state_of("digits", *options)
    torch.manual_seed(5)
    train_step(first)
    run_phase(first, "D")
    first.execution.accumulate = 2
    run_phase(first, "G")
    torch.manual_seed(5)
    train_step(second)
    run_phase(second, "D")
    out_of_memory(second.nets[network], 0)
    run_phase(second, "G")
    (event,) = second.execution.events
    assert (event["event"], event["player"], event["from"], event["accumulate"]) == ("memory", "G", 1, 2)
    assert second.execution.accumulate == 2
    ours, theirs = second.weights(), first.weights()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    for name, memory in first.memories.items():
        kept = second.memories[name].state_dict()
        assert all(torch.equal(value, kept[key]) for key, value in memory.state_dict().items())
    assert torch.equal(first.generator.get_state(), second.generator.get_state())


def test_it_goes_on_halving_and_takes_what_divides_an_odd_half(state_of: Build) -> None:
    # No batch statistics: a batch of one image is a batch.
    networks = ["model.kind=r3gan", "model.generator.groups=1", "model.critic.groups=1"]
    state = state_of("digits", "data.size=16", "model.width=4", "train.batch_size=6", *networks)
    out_of_memory(state.nets["D"], 0, 1)
    run_phase(state, "D")
    assert [event["accumulate"] for event in state.execution.events] == [2, 6]


def test_where_nothing_is_left_to_halve_it_says_what_would_help(state_of: Build) -> None:
    state = state_of("digits", "data.size=16", "model.width=4", "train.batch_size=2")
    out_of_memory(state.nets["D"], 0)
    with pytest.raises(UserError, match=r"memory on cpu in a phase of D with 2 images at a time.*recompute=true"):
        run_phase(state, "D")


def test_moments_that_were_only_begun_are_begun_again(state_of: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of("digits", "data.size=16", "model.width=4")
    optimizer, first = state.optimizers["D"], next(state.nets["D"].parameters())
    step = optimizer.step

    def begin() -> None:
        monkeypatch.setattr(optimizer, "step", step)
        optimizer.state[first]["step"] = torch.zeros(())
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(optimizer, "step", begin)
    run_phase(state, "D")
    assert float(optimizer.state[first]["step"]) == 1


@pytest.mark.parametrize(
    ("text", "is_memory"),
    [
        ("MPS backend out of memory (MPS allocated: 5.98 GB)", True),
        ("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to", True),
        ("Trying to backward through the graph a second time", False),
    ],
)
def test_other_errors_are_left_alone(state_of: Build, text: str, is_memory: bool) -> None:
    assert ran_out(RuntimeError(text)) == is_memory
    if not is_memory:
        state = state_of("digits", "data.size=16", "model.width=4")
        state.nets["D"].register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError(text)))
        with pytest.raises(RuntimeError, match="a second time"):
            run_phase(state, "D")
        assert state.execution.events == []


def test_a_run_says_so_and_goes_on_so_when_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update, calls, notices = update_step.update, [0], []

    def fail_once(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return update(*arguments)

    def stopped(now: object) -> None:
        notices.append(now.notice)

    monkeypatch.setattr(update_step, "update", fail_once)
    run = steadygan.train("digits", TINY, out=tmp_path / "run", on_step=stopped).path
    told = "out of memory in a phase of D at step 2: continuing with micro-batches of 4, as with train.accumulate=2"
    assert [told in notice for notice in notices] == [False, True, False, False, False, False]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (event,) = (row for row in rows if "event" in row)
    assert {"step": 2, "accumulate": 2, "configured": 1, "player": "D"}.items() <= event.items()
    kept = load_file(run / "checkpoints/step-00000006/weights.safetensors")
    for name in ("step-00000006", "best"):
        place = run / "checkpoints" / name
        if place.is_dir():
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
    steadygan.train(run, resume=True)
    again = load_file(run / "checkpoints/step-00000006/weights.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in kept.items())
