"""A metric of a module outside the package is computed, recorded and ranked like the built-in ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest
from helpers import tiny_run

import steadygan
from steadygan.errors import UserError
from steadygan.metrics.evaluation import headline
from steadygan.metrics.protocol import FIRST_FIELDS, PROTOCOLS, Protocol
from steadygan.metrics.registry import METRICS, find_metric
from steadygan.reports.tables import table

OWN = """
from steadygan.metrics.registry import Inputs, Metric


def compute(inputs: Inputs) -> dict[str, float]:
    return {"feature_norm": float(inputs.fakes.features.norm(dim=1).mean())}


NORM = Metric(compute, {"feature_norm": "higher"}, frozenset({"fakes"}))
NOT_ONE = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_metric.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_metric:NORM"


def test_a_metric_of_a_module_outside_the_package_is_scored_and_ranked(own: str, tmp_path: Path) -> None:
    options = tiny_run("train.steps=2", "eval.every=1", "eval.num_fake=20", f"eval.metrics={own}")
    run = steadygan.train("digits", options, out=tmp_path / "run")
    rows = [json.loads(line) for line in (run.path / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(row["feature_norm"] > 0 for row in rows)
    assert rows[-1]["protocol"]["better"] == {"feature_norm": "higher"}
    (row,) = table([run.path])
    assert row["feature_norm best"] == max(row["feature_norm"] for row in rows)


def test_what_is_no_metric_is_named(own: str) -> None:
    with pytest.raises(UserError, match="own_metric:NOT_ONE is no"):
        find_metric("own_metric:NOT_ONE")
    with pytest.raises(UserError, match=r"unknown metric 'kdd'; did you mean 'kd'"):
        Protocol("mine", "digits", 20, scores=("kdd",))


def test_a_record_without_a_frechet_distance_is_ranked_by_its_first_score_with_a_direction() -> None:
    protocol = {"name": "mine", "better": {"feature_norm": "higher"}}
    assert headline({"step": 3, "feature_norm": 2.0, "protocol": protocol}) == -2.0
    assert headline({"step": 3, "kl": 0.5, "protocol": {"name": "mine"}}) == 0.5


def test_a_field_that_is_added_with_a_default_changes_no_record() -> None:
    @dataclass(frozen=True)
    class Later(Protocol):
        crop: int = field(default=0)

    values = {f.name: getattr(PROTOCOLS["digits"], f.name) for f in fields(Protocol)}
    assert Later(**values).record() == PROTOCOLS["digits"].record()
    assert Later(**values, crop=2).record() == PROTOCOLS["digits"].record() | {"crop": 2}
    assert PROTOCOLS["digits"].record().keys() == FIRST_FIELDS


def test_every_metric_says_which_way_is_better() -> None:
    assert all(metric.better for metric in METRICS.values())
