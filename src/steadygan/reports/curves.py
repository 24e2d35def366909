"""A figure that compares runs, from the files in their directories (tables: `tables`)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steadygan.errors import require
from steadygan.files import write_whole
from steadygan.reports import spectra as instruments
from steadygan.reports.grouping import Group, group_seeds, merged, singles
from steadygan.runs.reading import Run, number, read_runs, score_columns, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
ADVERSARIAL, ACCURACY = "/adversarial", "D accuracy"
FAR_APART = 30
"""Ratio of maximum to median above which a panel of penalties gets a logarithmic axis."""
SMOOTHING = 30
"""Window of the running mean, as a fraction of the curve."""


def plot(runs: Sequence[str | Path], out_png: str | Path, *, seeds: bool = False) -> None:
    """Draws losses, D's accuracy, gradient norms and scores against the step; one colour per run, one dash style per
    term.

    Singular values, if recorded, get one panel per network. Long curves are drawn faint with their running mean on top.
    seeds: draw runs that differ only in the seed as their mean with a band of one standard deviation. Scores whose
    protocol was used at one step only (e.g. a truncation curve) are omitted if another protocol of that score has a
    curve. Raises UserError for a missing or empty run.
    """
    require("matplotlib", "plot", "drawing curves")
    # Imported here, as matplotlib is slow to import and tables do not need it.
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    loaded = read_runs(runs)
    groups = group_seeds(loaded) if seeds else singles(loaded)
    colours = [colormaps["tab10"](index % 10) for index in range(len(groups))]
    columns = _drawn(loaded)
    # Gradient norms are much larger than most losses.
    norms = ["D/grad_norm", "G/grad_norm"]
    losses = {player: [term for term in _terms(loaded, f"{player}/") if term not in norms] for player in ("D", "G")}
    panels = [
        *(
            (f"adversarial loss of {player}", [term for term in terms if ADVERSARIAL in term])
            for player, terms in losses.items()
        ),
        # Penalties can be a thousandth of the loss, or of each other.
        *(
            (f"regularisers of {player}", [term for term in terms if ADVERSARIAL not in term])
            for player, terms in losses.items()
        ),
        *_accuracy_panels(_terms(loaded, "D_accuracy_"), len(groups)),
        ("G diversity, relative to the reals", _terms(loaded, "G_diversity")),
        ("gradient norms", [term for term in norms if term in (*_terms(loaded, "D/"), *_terms(loaded, "G/"))]),
    ]
    panels = [panel for panel in panels if panel[1]]

    spectra = [
        part for group in groups for run in group.runs for part in instruments.read_spectra(run.name, run.metrics)
    ]
    drawn = len(panels) + len(columns)

    across = 3
    down = math.ceil((drawn + len(spectra)) / across)
    figure = Figure(figsize=(5.2 * across, 3.6 * down + 0.5), dpi=110, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flatten()

    for axes, (title, terms) in zip(grid, panels, strict=False):
        for group, colour in zip(groups, colours, strict=True):
            for term, dash in zip(terms, cycle(DASHES), strict=False):
                rows = [[row for row in run.metrics if term in row] for run in group.runs]
                curves = [[(row["step"], number(row[term])) for row in taken] for taken in rows]
                _draw(axes, merged(curves), colour, dash, share=title.startswith(ACCURACY))
        _finish(axes, title)
        if title.startswith(ACCURACY):
            axes.set_ylim(-0.03, 1.03)
        elif title.startswith("regularisers"):
            _spread_out(axes)
        if terms:
            styles = zip(terms, cycle(DASHES), strict=False)
            keys = [Line2D([], [], color="0.3", linestyle=dash, label=term) for term, dash in styles]
            axes.legend(handles=keys, fontsize=8, framealpha=0.7)

    for axes, (column, name, identity) in zip(grid[len(panels) :], columns, strict=False):
        taken_scores = [merged([series(run, name, identity) for run in group.runs]) for group in groups]
        if max(map(len, taken_scores)) > 1:
            for points, colour in zip(taken_scores, colours, strict=True):
                if points:
                    steps, means, sds = zip(*points, strict=True)
                    bars = sds if any(sds) else None
                    axes.errorbar(steps, means, bars, color=colour, marker="o", markersize=3, capsize=2)
            _finish(axes, column)
        else:
            _draw_bars(axes, taken_scores, colours)
            _finish(axes, column, "runs, in the order above")

    for axes, part in zip(grid[drawn:], spectra, strict=False):
        instruments.draw(axes, part)
        _finish(axes, f"largest singular values of {part.net}, {part.run}")

    for axes in grid[drawn + len(spectra) :]:
        axes.remove()
    keys = [Line2D([], [], color=colour, label=_label(group)) for group, colour in zip(groups, colours, strict=True)]
    figure.legend(handles=keys, loc="outside upper center", ncols=min(len(keys), 5), frameon=False)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(out_png), partial(figure.savefig, format="png"))


def _accuracy_panels(terms: list[str], groups: int) -> list[tuple[str, list[str]]]:
    """One panel, or with many runs one per kind of image, as a dozen lines in [0, 1] would be indistinguishable."""
    if groups <= 2:
        return [(ACCURACY, terms)]
    return [(f"{ACCURACY} ({term.removeprefix('D_accuracy_')})", [term]) for term in terms]


def _terms(runs: Sequence[Run], prefix: str) -> list[str]:
    """Metric names that start with `prefix`, in order of appearance."""
    names = dict.fromkeys(name for run in runs for row in run.metrics for name in row)
    return [name for name in names if name.startswith(prefix)]


def wrapped(title: str) -> str:
    """Wraps a title to fit above a panel."""
    return textwrap.fill(title, 48)


def _drawn(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """The score columns that get a panel."""
    columns = score_columns(runs)
    steps = {column: max(len(series(run, *score)) for run in runs) for column, *score in columns}
    most = {name: max(steps[other] for other, same, _ in columns if same == name) for _, name, _ in columns}
    return [entry for entry in columns if steps[entry[0]] > 1 or most[entry[1]] == 1]


def _label(group: Group) -> str:
    return group.name if len(group.runs) == 1 else f"{group.name} ({len(group.runs)} seeds)"


def _draw_bars(axes: Axes, curves: Sequence[list[tuple[int, float, float]]], colours: Sequence[Any]) -> None:
    """Bars for scores that each run has only once, by group."""
    for place, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
        for step, mean, sd in curve:
            axes.bar(place, mean, yerr=sd or None, color=colour, alpha=0.7, width=0.6, capsize=3)
            axes.annotate(f"{mean:.4g}", (place, mean), ha="center", va="bottom", fontsize=7)
            axes.annotate(f"step {step}", (place, 0), ha="center", va="bottom", fontsize=6, color="0.2")
    axes.set_xticks([])
    axes.margins(y=0.15)


def _spread_out(axes: Axes) -> None:
    """Sets a logarithmic axis if curves are far apart, as penalties usually are."""
    drawn = [np.abs(np.asarray(line.get_ydata(), dtype=float)) for line in axes.get_lines()]
    values = np.concatenate([part[np.isfinite(part) & (part > 0)] for part in drawn]) if drawn else np.array([])
    if len(values) and values.max() > FAR_APART * np.median(values):
        axes.set_yscale("symlog", linthresh=float(np.quantile(values, 0.05)))


def _draw(axes: Axes, points: list[tuple[int, float, float]], colour: Any, dash: Any, *, share: bool = False) -> None:
    """Draws a curve from (step, value, standard deviation). share: values, and the band, are in [0, 1]."""
    if not points:
        return
    steps, values, sds = np.array(points, dtype=float).T
    window = max(1, len(values) // (SMOOTHING // 4 if share else SMOOTHING))
    if window > 1 and not share:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
    mean, sd = (np.convolve(curve, np.full(window, 1 / window), mode="valid") for curve in (values, sds))
    alone = "o" if len(mean) == 1 else None  # a line of one point is invisible
    axes.plot(steps[window - 1 :], mean, color=colour, linestyle=dash, linewidth=1.4, marker=alone, markersize=4)
    if sds.any():
        low, high = mean - sd, mean + sd
        if share:
            low, high = low.clip(0, 1), high.clip(0, 1)
        axes.fill_between(steps[window - 1 :], low, high, color=colour, alpha=0.15, linewidth=0)


def _finish(axes: Axes, title: str, across: str = "step") -> None:
    axes.set_title(wrapped(title), fontsize=10)
    axes.set_xlabel(across, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
