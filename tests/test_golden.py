"""Runs written by version 0.1.0 load, sample, evaluate and resume with the same results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import steadygan

GOLDEN = Path(__file__).parent / "golden" / "version-0.1.0"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
PAIRS = f"data.path={GOLDEN / 'pairs'}"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A writable copy."""
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def recorded(run: Path) -> dict[str, float]:
    """The last record of a run's scores.jsonl."""
    record: dict[str, float] = json.loads((run / "scores.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return record


def test_a_generator_samples_the_same_images() -> None:
    images = steadygan.load(GOLDEN / "synthesis", device="cpu").sample(6, seed=3, output="float")
    assert images.mean((1, 2, 3)).tolist() == pytest.approx(EXPECTED["samples_mean"], abs=2e-3)


def test_a_translator_makes_the_same_images() -> None:
    translator = steadygan.load_translator(GOLDEN / "translation", device="cpu")
    images = (torch.arange(3 * 32 * 32) % 256).reshape(1, 3, 32, 32).to(torch.uint8)
    made = {name: float(translator.translate(images, name).float().mean()) for name in translator.directions}
    assert made == pytest.approx(EXPECTED["translated_mean"], abs=0.2)


def test_a_run_is_scored_again_in_the_same_column(golden: Path) -> None:
    before = recorded(golden / "synthesis")
    record = steadygan.evaluate(golden / "synthesis", device="cpu")
    assert record["protocol"]["name"] == before["protocol"]["name"]
    assert record["protocol"]["reals_sha256"] == before["protocol"]["reals_sha256"]


def changed(before: Path, after: Path) -> float:
    """The mean absolute difference of all weights of two checkpoints; one step of Adam moves a weight by 1e-3."""
    a, b = (load_file(path / "weights.safetensors") for path in (before, after))
    assert a.keys() == b.keys()
    return float(torch.cat([(a[name].double() - b[name].double()).abs().flatten() for name in a]).mean())


@pytest.mark.parametrize(("name", "step", "options"), [("synthesis", 4, []), ("translation", 2, [PAIRS])])
def test_a_run_resumes_to_the_same_weights(golden: Path, name: str, step: int, options: list[str]) -> None:
    run = golden / name
    last = run / "checkpoints" / f"step-{2 * step:08d}"
    kept = golden / "last"
    shutil.move(last, kept)
    (run / "checkpoints" / "best").write_text(f"step-{step:08d}\n", encoding="utf-8")
    steadygan.train(run, options, resume=True)
    assert changed(kept, last) < 3e-4
