"""Scores taken while a run trains: they disturb nothing, are recorded in full, and keep the best checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import pixels, tiny_run
from safetensors.torch import load_file

import steadygan
from steadygan.errors import UserError
from steadygan.generators.sampling import standing_statistics
from steadygan.reports.tables import table
from steadygan.training.collapse import SCORE_JUMP

STEPS = 4
TINY = tiny_run(
    "train.log_every=1",
    "train.sample_every=3",
    "train.checkpoint_every=2",
    "train.keep_checkpoints=9",
    f"train.steps={STEPS}",
    "eval.num_fake=20",
)
# The digits run has batch norm in G; StyleGAN2 draws its noise and styles from torch's global generator.
NETWORKS = {
    "batch norm": [],
    "inner noise": [
        "data.size=32",
        "model.kind=stylegan2",
        "model.width=1",
        "model.generator={mapping_layers: 1, fmap_max: 4}",
        "model.critic={mapping_layers: 1, fmap_max: 4}",
        "objective.terms={}",
    ],
}
OF_THE_CLOCK = {"seconds", "images_per_s"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))


def rows(path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list | tuple):
        for name, below in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(below, f"{key}/{name}")
    else:
        yield key, value


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_scored_at_every_step_is_bit_for_bit_the_run_that_is_not(tmp_path: Path, network: str) -> None:
    options = [*TINY, *NETWORKS[network]]
    often, never = (
        steadygan.train("digits", [*options, f"eval.every={every}"], out=tmp_path / str(every)).path for every in (1, 0)
    )
    assert len(rows(often, "scores.jsonl")) == STEPS
    assert len(rows(never, "scores.jsonl")) == 1, "the end is always scored"
    metrics = [
        [{k: v for k, v in row.items() if k not in OF_THE_CLOCK} for row in rows(path, "metrics.jsonl")]
        for path in (often, never)
    ]
    assert metrics[0] == metrics[1]
    for step in (2, STEPS):
        folders = [path / f"checkpoints/step-{step:08d}" for path in (often, never)]
        weights = [load_file(folder / "weights.safetensors") for folder in folders]
        assert [key for key in weights[0] if not torch.equal(weights[0][key], weights[1][key])] == []
        states = [dict(flat(torch.load(folder / "state.pt", weights_only=True))) for folder in folders]
        assert states[0].keys() == states[1].keys()
        assert {"/generator", "/torch_rng", "/loader/position"} <= states[0].keys()
        for key, value in states[0].items():
            if key not in ("/seconds", "/best_score"):
                same = torch.equal(value, states[1][key]) if torch.is_tensor(value) else value == states[1][key]
                assert same, (key, step)
    grid = f"samples/step-{STEPS:08d}.png"
    assert pixels(often / grid) == pixels(never / grid)
    last = [rows(path, "scores.jsonl")[-1]["FD-digits"] for path in (often, never)]
    assert last[0] == last[1]


def test_a_score_in_training_records_its_own_size_and_what_it_cost(tmp_path: Path) -> None:
    path = steadygan.train("digits", [*TINY, *NETWORKS["batch norm"], "eval.every=3"], out=tmp_path / "run").path
    scores = rows(path, "scores.jsonl")
    assert [row["step"] for row in scores] == [3, STEPS]
    assert all(row["protocol"]["num_fake"] == 20 for row in scores)
    assert all(0 < row["eval_seconds"] < 600 for row in scores)
    full = steadygan.evaluate(path)
    assert full["protocol"]["num_fake"] == 2000, "a finished run is scored by the protocol as it is named"
    (row,) = table([path])
    for num_fake in (20, 2000):
        assert any(column.startswith(f"FD-digits [digits num_fake={num_fake} ") for column in row), list(row)
    assert not any("eval_seconds" in column for column in row)


def test_an_evaluation_too_small_to_be_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"eval\.num_fake"):
        steadygan.train("digits", ["eval.num_fake=1"], out=tmp_path / "run")


def test_scores_of_another_protocol_are_not_compared_with_the_earlier_ones(tmp_path: Path) -> None:
    """FD-digits is far more than five times FD-tiny: it was taken for a collapse, or never for the best."""
    options = [*TINY, "eval.every=2", "eval.patience=2", "eval.protocol=tiny"]
    run = steadygan.train("digits", options, out=tmp_path / "run").path
    steadygan.train(run, ["eval.protocol=digits", f"train.steps={STEPS + 2}"], resume=True)
    scores = rows(run, "scores.jsonl")
    assert scores[-1]["FD-digits"] > SCORE_JUMP * max(row["FD-tiny"] for row in scores[:-1])
    assert (run / "checkpoints" / "best").read_text().strip() == f"step-{STEPS + 2:08d}"


def test_a_grid_and_a_checkpoint_of_one_step_share_their_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are computed once for each step's weights, and are the ones that a run without grids has."""
    made = []

    def counted(*arguments: Any) -> None:
        made.append(1)
        standing_statistics(*arguments)

    monkeypatch.setattr("steadygan.tasks.synthesis.standing_statistics", counted)
    weights = []
    for every in (2, 100):
        made.clear()
        settings = [*TINY, "eval.every=0", f"train.sample_every={every}", "train.sample_first=0"]
        run = steadygan.train("digits", settings, out=tmp_path / f"run{every}")
        assert len(made) == 2, "two checkpoints"
        weights.append(
            [load_file(path / "weights.safetensors") for path in sorted(run.path.glob("checkpoints/step-*"))]
        )
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    first, last = weights[0]
    means = [name for name in first if name.startswith("G_ema") and name.endswith("running_mean")]
    assert means
    assert not any(torch.equal(first[name], last[name]) for name in means)
