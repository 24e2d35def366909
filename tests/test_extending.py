"""What docs/extending.md says a module outside the package can do, it does: the code there is run as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.objective.adversarial import find_loss

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The modules of the page, importable, in a folder outside the package."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return folder


def first_line(path: Path, *overrides: str) -> dict[str, float]:
    """What two steps of digits with these settings log first."""
    options = tiny_run("train.steps=2", "train.log_every=1", *overrides)
    run = steadygan.train("digits", options, out=path).path
    row: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    return row


def test_a_term_of_ones_own_trains(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.terms.my_terms:latent_slope={weight: 2}")
    assert row["G/latent_slope"] >= 0


def test_a_view_of_ones_own_trains(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.terms.my_views:rolled={}")
    assert row["D/rolled"] > 0


def test_an_adversarial_loss_of_ones_own_trains_and_brings_its_boundary(tmp_path: Path, modules: Path) -> None:
    row = first_line(tmp_path / "run", "objective.loss=my_losses:minimax")
    assert row["G/adversarial"] < 0 < row["D/adversarial"]
    assert 0 <= row["D_accuracy_fake"] <= 1


def test_a_metric_of_ones_own_is_scored(tmp_path: Path, modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    options = tiny_run("train.steps=1", "eval.num_fake=20", "eval.metrics=my_metrics:VARIANCE")
    scores = steadygan.train("digits", options, out=tmp_path / "run").scores
    assert scores["feature_variance"] > 0


def test_what_is_no_adversarial_loss_is_refused(modules: Path) -> None:
    with pytest.raises(UserError, match=r"objective\.loss: my_losses:math must be an AdversarialLoss, and is a module"):
        find_loss("my_losses:math")
