"""The truncation curve: the trade-off between diversity and quality (BigGAN, Fig. 2 and 16)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from steadygan.errors import require
from steadygan.files import write_whole
from steadygan.generators.prior import Truncation, read_truncation
from steadygan.runs.reading import Row, cost, score_names

OFF = "off"
TRADES = (("IS", ("FID", "FD-")), ("class_agreement", ("FID", "FD-")), ("precision", ("recall",)))
"""Axes by prefixes of score names, first available pair: quality against distance or diversity."""


def truncation_rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per record: truncation, or "off", and scores; sorted by kind of truncation and value, "off" last."""
    ordered = sorted(records, key=lambda record: _place(record["protocol"]["truncation"]))
    rows = []
    for record in ordered:
        scores = {name: record[name] for name in score_names(dict(record))}
        rows.append({"truncation": record["protocol"]["truncation"] or OFF} | scores)
    return rows


def _place(truncation: Truncation | None) -> tuple[str, float]:
    if truncation is None:
        return "~", 0.0  # after all names
    cut = read_truncation(truncation)
    return cut.law or "", cut.threshold


def trade(names: Sequence[str]) -> tuple[str, str] | None:
    """The two scores of the papers' curve; None if one is missing."""
    for better, others in TRADES:
        across = [name for name in names if name.startswith(better) and not name.endswith("_std")]
        up = [name for name in names if name.startswith(others) and not name.endswith("_std")]
        if across and up:
            return across[0], up[0]
    return None


def plot_truncation(rows: Sequence[Row], out_png: str | Path, *, title: str = "") -> None:
    """Draws the trade-off, with truncations at the points, and every score against the truncation."""
    require("matplotlib", "plot", "drawing curves")
    from matplotlib.figure import Figure

    names = [name for name in rows[0] if name != "truncation" and cost(name, 0.0) is not None]
    axes_of = trade(names)
    marks = [row["truncation"] if isinstance(row["truncation"], str) else f"{row['truncation']:g}" for row in rows]
    total = len(names) + (axes_of is not None)
    across = {1: 1, 2: 2, 4: 2}.get(total, 3)
    down = -(-total // across)
    figure = Figure(figsize=(4.4 * across, 3.7 * down), dpi=110, layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flatten())
    if axes_of is not None:
        axes, (x, y) = panels.pop(0), axes_of
        axes.plot([row[x] for row in rows], [row[y] for row in rows], marker="o", markersize=4)
        for row, mark in zip(rows, marks, strict=True):
            axes.annotate(mark, (row[x], row[y]), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel(x, fontsize=9)
        axes.set_ylabel(y, fontsize=9)
        axes.set_title("trade-off by truncation", fontsize=10)
        _set_limits(axes.set_xlim, [row[x] for row in rows])
        _set_limits(axes.set_ylim, [row[y] for row in rows])
    for axes, name in zip(panels, names, strict=False):
        axes.plot(marks, [row[name] for row in rows], marker="o", markersize=4)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("truncation", fontsize=9)
        _set_limits(axes.set_ylim, [row[name] for row in rows])
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(out_png), partial(figure.savefig, format="png"))


def _set_limits(set_limits: Callable[[float, float], object], values: Sequence[float]) -> None:
    """Sets limits at least a tenth of the values' magnitude apart, so that noise does not fill the axis."""
    low, high = min(values), max(values)
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05 * max(abs(low), abs(high)), 1e-9)
    set_limits(middle - 1.15 * half, middle + 1.15 * half)
