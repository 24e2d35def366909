"""Fine-tuning another run's networks: copied, refused and frozen parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny_run
from safetensors.torch import load_file

import steadygan
from steadygan import build, config
from steadygan.cli.training import _size
from steadygan.errors import UserError
from steadygan.files import sha256
from steadygan.tasks.choice import build_images, task_of
from steadygan.training.step import run_phase
from steadygan.training.transfer import start_from

TINY = tiny_run("data.channels=3", "train.log_every=1", "train.precision=float32")
FINE = [*TINY, "train.steps=1", "data.seed=1"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = [*TINY, "train.steps=4", "train.ema={start: 0, half_life: 3}"]
    return steadygan.train("digits", options, out=tmp_path_factory.mktemp("source") / "run").path


def weights(run: Path) -> dict[str, torch.Tensor]:
    (newest,) = (run / "checkpoints").glob("step-*")
    return load_file(newest / "weights.safetensors")


def parameters(tensors: dict[str, torch.Tensor], net: str) -> set[str]:
    return {
        name.removeprefix(f"{net}.")
        for name in tensors
        if name.startswith(f"{net}.") and "running_" not in name and not name.endswith((".u", ".v", "batches_tracked"))
    }


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], net: str) -> set[str]:
    return {n for n in parameters(after, net) if not torch.equal(before[f"{net}.{n}"], after[f"{net}.{n}"])}


def test_a_run_starts_where_its_source_ended_with_a_fresh_optimiser(source: Path, tmp_path: Path) -> None:
    """A learning rate of next to nothing shows what a run starts with."""
    still = [*FINE, f"train.init_from={source}", "optim.g.lr=1e-30", "optim.d.lr=1e-30", "train.ema.start=100"]
    run = steadygan.train("digits", still, out=tmp_path / "run").path
    before, after = weights(source), weights(run)
    assert before.keys() == after.keys()
    for net in ("G", "D"):
        for name in parameters(after, net):
            torch.testing.assert_close(after[f"{net}.{name}"], before[f"{net}.{name}"], rtol=0, atol=1e-20)
    assert moved(before, before | {k: v for k, v in after.items() if k.startswith("G_ema.")}, "G_ema")
    half_life = config.load("digits").train.ema.half_life
    assert half_life is not None
    decay = 0.5 ** (1 / half_life)
    name = "linear.weight"
    expected = decay * before[f"G_ema.{name}"] + (1 - decay) * before[f"G.{name}"]
    torch.testing.assert_close(after[f"G_ema.{name}"], expected, rtol=1e-4, atol=1e-7)
    optimizer = torch.load(next((run / "checkpoints").glob("*/state.pt")), weights_only=True)["optimizers"]["G"]
    assert float(next(iter(optimizer["state"].values()))["step"]) == 1


def test_provenance_says_which_weights_a_run_started_from(source: Path, tmp_path: Path) -> None:
    run = steadygan.train("digits", [*FINE, f"train.init_from={source}"], out=tmp_path / "run").path
    origin = json.loads((run / "provenance.json").read_text())["init_from"]
    checkpoint = source / "checkpoints/step-00000004"
    digest = sha256(checkpoint / "weights.safetensors")
    assert origin == {"checkpoint": str(checkpoint), "step": 4, "weights_sha256": digest}


def test_a_checkpoint_can_be_the_source_and_need_not_be_there_to_go_on(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (source / "checkpoints/step-00000004").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    run = steadygan.train("digits", [*FINE, f"train.init_from={copy}"], out=tmp_path / "run").path
    for file in copy.iterdir():
        file.unlink()
    result = steadygan.train(run, ["train.steps=2"], resume=True)
    assert result.finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ["model.width=3"],
            r"D\.convs\.0\.bias is \[2\] in the source and \[3\] here \(model\.width is 2 there, 3 here\)",
        ),
        (["model.critic.width=4"], r"D\.convs\.0\.bias is \[2\] in .* and \[4\] here; compare model\.critic"),
        (["model.kind=resnet", "data.size=32"], r"is not there in the source .*model\.kind is 'dcgan' there, 'resnet'"),
        (["model.conditional=false"], r"conditional on 10 classes, this run's are unconditional, but their images"),
        (["train.init_from=nowhere"], r"nowhere is neither a checkpoint nor a run directory"),
    ],
)
def test_networks_that_do_not_fit_are_refused_by_their_first_tensor(
    source: Path, tmp_path: Path, change: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        steadygan.train("digits", [*FINE, f"train.init_from={source}", *change], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_scalar_that_is_missing_is_told_from_one_that_is_there(source: Path) -> None:
    cfg = build.resolve(config.load("digits", FINE))
    device = torch.device("cpu")
    images = build_images(cfg, device).train
    state = build.build_state(task_of(cfg), images, device)
    state.nets["D"].register_buffer("odd", torch.zeros(()))
    with pytest.raises(UserError, match=r"D\.odd is not there in the source and \[\] here"):
        start_from(state, source, task_of(cfg).describe(images))


@pytest.mark.parametrize("option", ["train.freeze_critic=1", "train.adapt=scale-shift"])
def test_freezing_what_nobody_has_trained_is_refused(option: str) -> None:
    with pytest.raises(UserError, match=r"set train\.init_from to that run"):
        config.load("digits", [option])


@pytest.mark.parametrize(
    ("options", "resting"),
    [
        ([], {}),
        (["train.freeze_critic=3"], {"D": r"convs\.[012]\."}),
        (["train.adapt=scale-shift"], {"G": r"(?!norm)"}),
        (["train.freeze_critic=7", "train.adapt=scale-shift"], {"D": r"convs\.", "G": r"(?!norm)"}),
    ],
)
def test_exactly_what_is_not_frozen_moves_through_all_phases(
    source: Path, tmp_path: Path, options: list[str], resting: dict[str, str]
) -> None:
    extra = ["train.steps=3", "train.phases=[D, D, G]", "objective.terms.r1={gamma: 0.1}", "objective.terms.ortho={}"]
    run = steadygan.train("digits", [*FINE, f"train.init_from={source}", *options, *extra], out=tmp_path / "run").path
    before, after = weights(source), weights(run)
    for net in ("G", "D"):
        frozen = {n for n in parameters(after, net) if net in resting and re.match(resting[net], n)}
        assert (net in resting) == bool(frozen)
        assert moved(before, after, net) == parameters(after, net) - frozen


def test_a_frozen_weight_gets_no_gradient_and_costs_no_moments(source: Path) -> None:
    """Checked phase by phase, for the other player's phase switches gradients on and off as well."""
    cfg = build.resolve(config.load("digits", [*FINE, f"train.init_from={source}", "train.freeze_critic=2"]))
    device = torch.device("cpu")
    state = build.build_state(task_of(cfg), build_images(cfg, device).train, device)
    frozen = {name.removeprefix("D.") for name in state.objective.frozen}
    assert frozen == {f"convs.{i}.{part}" for i in range(2) for part in ("weight", "bias")}
    resting = sum(state.nets["D"].get_parameter(name).numel() for name in frozen)
    assert _size(state, "D").endswith(f" ({resting} frozen)")
    assert "frozen" not in _size(state, "G")
    for player in ("D", "G", "D", "G"):
        run_phase(state, player)
        for net in ("G", "D"):
            for name, parameter in state.nets[net].named_parameters():
                assert parameter.requires_grad == (net == player and (net, name) not in {("D", n) for n in frozen})
    moments: dict[Any, Any] = state.optimizers["D"].state
    assert {name for name, p in state.nets["D"].named_parameters() if p not in moments} == frozen
