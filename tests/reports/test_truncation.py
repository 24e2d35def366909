"""The truncation curve, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from steadygan.reports.truncation import plot_truncation, trade, truncation_rows


def record(truncation: float | str | None, **scores: float) -> dict[str, Any]:
    return {"step": 7, "eval_seconds": 1.0, **scores, "protocol": {"name": "p", "truncation": truncation}}


def test_rows_rise_with_the_truncation_and_end_with_none() -> None:
    rows = truncation_rows([record(2.0, FID=3.0), record(None, FID=2.0), record(0.5, FID=9.0)])
    assert rows == [
        {"truncation": 0.5, "FID": 9.0},
        {"truncation": 2.0, "FID": 3.0},
        {"truncation": "off", "FID": 2.0},
    ]


def test_laws_by_name_follow_the_plain_ones() -> None:
    rows = truncation_rows([record(given, FID=1.0) for given in ("scaled:0.5", None, 1.0, "redrawn:0.2", "scaled:0.1")])
    assert [row["truncation"] for row in rows] == [1.0, "redrawn:0.2", "scaled:0.1", "scaled:0.5", "off"]


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["FID", "IS", "IS_std", "KID", "precision", "recall"], ("IS", "FID")),
        (["FD-digits", "class_agreement", "diversity"], ("class_agreement", "FD-digits")),
        (["FD-dinov2", "precision", "recall"], ("precision", "recall")),
        (["FD-squeezenet", "KD-squeezenet"], None),
    ],
)
def test_the_papers_axes_are_chosen_where_they_were_scored(names: list[str], axes: tuple[str, str] | None) -> None:
    assert trade(names) == axes


@pytest.mark.parametrize("scores", [("FID",), ("FID", "IS", "IS_std"), ("FID", "IS", "KID", "precision", "recall")])
def test_any_number_of_scores_is_drawn(tmp_path: Path, scores: tuple[str, ...]) -> None:
    records = [record(t, **dict.fromkeys(scores, 1.0 + (t or 4))) for t in (0.5, 1.0, None)]
    plot_truncation(truncation_rows(records), tmp_path / "new/curve.png", title="a run")
    with Image.open(tmp_path / "new/curve.png", formats=["PNG"]) as image:
        assert image.width > 300
