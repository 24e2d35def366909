"""Resuming a run is the same as never having stopped, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import pixels, tiny_run
from safetensors.torch import load_file

import steadygan
from steadygan import api
from steadygan.errors import UserError

STEPS, STOP = 7, 4
TINY = tiny_run(
    "data.max_images=28",
    "data.flip=true",
    "train.accumulate=2",
    "train.phases=[D, D, G]",
    "train.log_every=1",
    "train.sample_every=3",
    f"train.checkpoint_every={STOP}",
    f"train.steps={STEPS}",
    "train.ema={start: 2, half_life: 3}",
    "optim.schedule=linear",
    "objective.terms.r1={gamma: 0.1, every: 3}",
    "train.device=auto",
)
# Each process is forked from one that has imported torch and done nothing else, which saves importing it again.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["torch._dynamo", "steadygan.run"])

COLOURED = ["data.channels=3"]


class Crash(Exception):
    pass


def crash_at(step: int) -> Any:
    def on_step(now: Any) -> None:
        if now.step == step:
            raise Crash

    return on_step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    return steadygan.train("digits-icr", TINY + COLOURED, out=tmp_path_factory.mktemp("whole") / "run").path


def crashed(path: Path) -> Path:
    """The same run, dead two steps after its checkpoint."""
    with pytest.raises(Crash):
        steadygan.train("digits-icr", TINY + COLOURED, out=path, on_step=crash_at(STOP + 2))
    return path


def metrics(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in rows]


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, below in items:
            yield from flat(below, f"{key}/{name}")
    else:
        yield key, value


def assert_same_checkpoint(a: Path, b: Path) -> None:
    name = f"checkpoints/step-{STEPS:08d}"
    weights = [load_file(path / name / "weights.safetensors") for path in (a, b)]
    assert weights[0].keys() == weights[1].keys()
    assert {key.split(".")[0] for key in weights[0]} == {"G", "D", "G_ema"}
    assert any(key.endswith("running_mean") for key in weights[0])
    different = [key for key in weights[0] if not torch.equal(weights[0][key], weights[1][key])]
    assert not different
    states = [dict(flat(torch.load(path / name / "state.pt", weights_only=True))) for path in (a, b)]
    assert states[0].keys() == states[1].keys()
    assert any(key.endswith("exp_avg") for key in states[0])
    for key, value in states[0].items():
        if key != "/seconds":
            same = torch.equal(value, states[1][key]) if torch.is_tensor(value) else value == states[1][key]
            assert same, key


def assert_same_run(a: Path, b: Path) -> None:
    assert_same_checkpoint(a, b)
    assert metrics(a) == metrics(b)
    grids = [path.name for path in sorted((a / "samples").iterdir())]
    assert grids == [path.name for path in sorted((b / "samples").iterdir())]
    for grid in grids:
        assert pixels(a / "samples" / grid) == pixels(b / "samples" / grid)


def test_the_run_exercises_what_a_checkpoint_can_forget(whole: Path) -> None:
    rows = metrics(whole)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert {"D/bcr_real", "D/bcr_fake", "D/zcr_dis", "G/zcr_gen", "D/adversarial", "G/adversarial"} <= rows[0].keys()
    with_r1 = [row["step"] for row in rows if "D/r1" in row]
    # Every third of D's phases, of which there are two a step.
    assert with_r1 == sorted({phase // 2 + 1 for phase in range(0, 2 * STEPS, 3)})
    assert rows[-1]["images"] == STEPS * 2 * 8 > 28


def test_a_fresh_process_goes_on_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    path = crashed(tmp_path / "run")
    assert len(metrics(path)) > STOP
    process = FRESH.Process(target=api.train, args=(path,), kwargs={"resume": True})
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same_run(whole, path)


def test_a_line_cut_short_and_half_a_checkpoint_change_nothing(whole: Path, tmp_path: Path) -> None:
    path = crashed(tmp_path / "run")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "D/adv')
    half = path / "checkpoints" / ".step-00000006-abcd"
    half.mkdir()
    (half / "state.pt").write_bytes(b"half")
    result = steadygan.train(path, resume=True)
    assert result.finished
    assert_same_run(whole, path)
    assert not half.exists()


def test_twice_interrupted_is_still_the_same(whole: Path, tmp_path: Path) -> None:
    path = crashed(tmp_path / "run")
    with pytest.raises(Crash):
        steadygan.train(path, ["train.checkpoint_every=1"], resume=True, on_step=crash_at(STOP + 1))
    steadygan.train(path, [f"train.checkpoint_every={STOP}"], resume=True)
    assert_same_run(whole, path)


def test_more_steps_than_planned_are_a_longer_run(tmp_path: Path) -> None:
    constant = [*TINY, *COLOURED, "optim.schedule=constant"]
    steadygan.train("digits", constant, out=tmp_path / "long")
    steadygan.train("digits", [*constant, f"train.steps={STOP}"], out=tmp_path / "short")
    steadygan.train(tmp_path / "short", [f"train.steps={STEPS}"], resume=True)
    assert_same_checkpoint(tmp_path / "long", tmp_path / "short")
    assert metrics(tmp_path / "long") == metrics(tmp_path / "short")


def test_other_data_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = crashed(tmp_path / "run")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=r"data\.seed is 1, was 0"):
        steadygan.train(path, ["data.seed=1"], resume=True)
    with pytest.raises(UserError, match=r"model\.width is 4, was 2"):
        steadygan.train(path, ["model.width=4"], resume=True)
    with pytest.raises(UserError, match="seed was 0"):
        steadygan.train(path, ["train.seed=1"], resume=True)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_finished_run_says_how_to_go_on_and_keeps_its_configuration(whole: Path) -> None:
    before = (whole / "config.yaml").read_bytes()
    with pytest.raises(UserError, match=r"already reached step 7.*--resume train\.steps=14"):
        steadygan.train(whole, ["train.log_every=5"], resume=True)
    assert (whole / "config.yaml").read_bytes() == before


def test_a_damaged_newest_checkpoint_can_be_removed_to_go_on_from_the_one_before(tmp_path: Path) -> None:
    steadygan.train("digits", [*TINY, *COLOURED, "train.checkpoint_every=2", "train.steps=4"], out=tmp_path / "run")
    newest = tmp_path / "run/checkpoints/step-00000004"
    with (newest / "weights.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="remove this checkpoint"):
        steadygan.train(tmp_path / "run", ["train.steps=5"], resume=True)
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    assert steadygan.train(tmp_path / "run", ["train.steps=5"], resume=True).finished
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("source", ["digits", "nowhere"])
def test_what_is_no_run_cannot_be_resumed(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset's name, above all, is not taken for a run."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{source} is not a run directory"):
        steadygan.train(source, resume=True)
    assert not list(tmp_path.iterdir())


def test_inner_noise_comes_from_the_seed_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """StyleGAN2 draws noise and style mixing inside the network while it trains."""
    stylegan2 = [*TINY, *COLOURED, "model={kind: stylegan2, width: 2, latent: 8, conditional: true}"]
    stylegan2 += ["model.generator={fmap_max: 8, mapping_layers: 2}", "model.critic={fmap_max: 8}"]

    def weights(run: Path) -> dict[str, torch.Tensor]:
        return load_file(run / "checkpoints" / f"step-{STEPS:08d}" / "weights.safetensors")

    first = weights(steadygan.train("digits", stylegan2, out=tmp_path / "first").path)
    torch.manual_seed(123)
    second = weights(steadygan.train("digits", stylegan2, out=tmp_path / "second").path)
    with pytest.raises(Crash):
        steadygan.train("digits", stylegan2, out=tmp_path / "stopped", on_step=crash_at(STOP + 2))
    torch.manual_seed(456)
    resumed = weights(steadygan.train(tmp_path / "stopped", resume=True).path)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert torch.equal(value, resumed[name]), name
