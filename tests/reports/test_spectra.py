"""Singular values as read and drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from steadygan.reports import curves as compare
from steadygan.reports.spectra import NAMED, Spectra, draw, growth, read_spectra
from steadygan.runs.reading import read_run

ROWS = [
    {"step": 10, "D/adversarial": 1.0, "sigma/G/linear": [2.0, 1.0, 0.5], "sigma/D/head.linear": [1.0]},
    {"step": 20, "D/adversarial": 1.0},
    {"step": 30, "D/adversarial": 1.0, "sigma/G/linear": [6.0, 1.0, 0.5], "sigma/D/head.linear": [None]},
]


def test_the_first_singular_value_of_each_layer_is_read_by_network() -> None:
    generator, critic = read_spectra("mine", ROWS)
    assert generator == Spectra("mine", "G", {"linear": [(10, 2.0), (30, 6.0)]})
    assert (critic.net, list(critic.layers)) == ("D", ["head.linear"])
    assert math.isnan(critic.layers["head.linear"][1][1])
    assert read_spectra("mine", ROWS[1:2]) == []


@pytest.mark.parametrize(
    ("values", "expected"), [([2, 6, 3], 3), ([2, 1], 1), ([0, 1], math.inf), ([1, math.nan], math.inf)]
)
def test_growth_is_the_most_a_layer_ever_grew(values: list[float], expected: float) -> None:
    assert growth(list(enumerate(values))) == expected


def test_thirty_layers_are_drawn_and_those_that_grew_most_are_named() -> None:
    layers = {f"blocks.{i}": [(0, 1.0), (10, 1.0 + i)] for i in range(30)}
    axes = Figure().subplots()
    draw(axes, Spectra("mine", "G", layers))
    assert len(axes.get_lines()) == 30
    named = [text.get_text().split()[0] for text in axes.get_legend().get_texts()]
    assert sorted(named) == sorted(f"blocks.{i}" for i in range(30 - NAMED, 30))


def test_compare_draws_a_panel_a_network_and_passes_over_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(compare, "_finish", lambda _, title, *across: titles.append(title))
    (tmp_path / "mine").mkdir()
    lines = [*ROWS, {"step": 30, "event": "rollback", "from": 40}]
    (tmp_path / "mine/metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    compare.plot([tmp_path / "mine"], tmp_path / "out.png")
    assert titles == ["adversarial loss of D", *(f"largest singular values of {net}, mine" for net in "GD")]
    assert [row["step"] for row in read_run(tmp_path / "mine").metrics] == [10, 20, 30]
    assert "event" not in read_run(tmp_path / "mine").metrics[-1]
