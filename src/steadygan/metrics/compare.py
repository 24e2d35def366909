"""Runs side by side, from nothing but the files in their directories: tables and one figure."""

from __future__ import annotations

import csv as csv_format
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from steadygan.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]

NOT_THE_PROTOCOL = {"steadygan", "torch", "data_fingerprint"}
"""Recorded with a protocol, but scores that differ only here are comparable: `reals_sha256` stays."""

PROGRESS = {"step", "images", "seconds", "images_per_s"}
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)))
SMOOTHING = 30
"""The running mean of a curve is over this fraction of it."""


@dataclass(frozen=True)
class Run:
    """A run directory as read: metrics and scores, each by rising step."""

    name: str
    metrics: list[Row]
    scores: list[Row]


def read_lines(path: Path) -> list[Row]:
    """The JSON objects of a .jsonl file, one a line.

    A last line that was never finished (the writer was killed) is left out; any other damage is a UserError.
    """
    *lines, unfinished = path.read_bytes().split(b"\n")
    rows: list[Row] = []
    for number, line in enumerate([*lines, unfinished], start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError("not an object with a step")
            rows.append(row)
        except ValueError as error:
            if number <= len(lines):
                raise UserError(f"{path}:{number} is damaged ({error}); remove the line") from None
    return rows


def read_run(path: Path, name: str | None = None) -> Run:
    """The run in a directory. Where a resumed run took a step (or a score) again, the later line counts.

    Raises UserError when there is no run, or nothing in it yet.
    """
    if not (path / "metrics.jsonl").is_file():
        raise UserError(f"{path} is not a run directory: it has no metrics.jsonl")
    metrics = {row["step"]: row for row in read_lines(path / "metrics.jsonl")}
    if not metrics:
        raise UserError(f"{path / 'metrics.jsonl'} is empty: the run has not reached its first report yet")
    scored = read_lines(path / "scores.jsonl") if (path / "scores.jsonl").is_file() else []
    for row in scored:
        if not isinstance(row.get("protocol"), dict) or "name" not in row["protocol"]:
            raise UserError(f"{path / 'scores.jsonl'}: the score at step {row['step']} lacks its protocol; remove it")
    scores = {(row["step"], _identity(row)): row for row in scored}
    return Run(name or path.name, _by_step(metrics.values()), _by_step(scores.values()))


def _read_runs(paths: Sequence[str | Path]) -> list[Run]:
    if not paths:
        raise UserError("no run directories given to compare")
    folders = [Path(path) for path in paths]
    names = [folder.resolve().name for folder in folders]
    return [
        read_run(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def _by_step(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["step"])


def _protocol(row: Row) -> Row:
    return {key: value for key, value in row["protocol"].items() if key not in NOT_THE_PROTOCOL}


def _identity(row: Row) -> str:
    return json.dumps(_protocol(row), sort_keys=True)


def _number(value: Any) -> float:
    """A finite number, or NaN for what a diverged run writes instead (null, NaN, Infinity)."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _score_names(row: Row) -> list[str]:
    return [name for name in row if name != "protocol" and name not in PROGRESS]


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Each protocol in use, by identity: its name, and what sets it apart from others of that name."""
    protocols = {_identity(row): _protocol(row) for run in runs for row in run.scores}
    labels = {}
    for identity, protocol in protocols.items():
        namesakes = [other for other in protocols.values() if other["name"] == protocol["name"]]
        differing = [key for key in protocol if any(other.get(key) != protocol[key] for other in namesakes)]
        details = [f"{key}={_short(protocol[key])}" for key in differing]
        labels[identity] = " ".join([protocol["name"], *details])
    return labels


def _short(value: Any) -> str:
    is_digest = isinstance(value, str) and len(value) == 64
    return value[:8] if is_digest else str(value)


def _columns(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """(column, score, protocol identity); a column names the protocol where several have taken the score."""
    labels = _labels(runs)
    pairs = {(name, _identity(row)): None for run in runs for row in run.scores for name in _score_names(row)}
    names = [name for name, _ in pairs]
    return [
        (name if names.count(name) == 1 else f"{name} [{labels[identity]}]", name, identity) for name, identity in pairs
    ]


def _series(run: Run, name: str, identity: str) -> list[tuple[int, float]]:
    taken = [row for row in run.scores if name in row and _identity(row) == identity]
    return [(row["step"], _number(row[name])) for row in taken]


def cost(name: str, value: float) -> float | None:
    """How bad a score is, for finding the best; None for a score whose good direction is unknown."""
    if name.endswith("_std"):
        return None
    if name.startswith(("FD-", "FID", "KD-", "KID", "kl")):
        return value
    if name.startswith(("IS", "class_agreement", "modes", "precision", "recall", "density", "coverage")):
        return -value
    return abs(value - 1) if name == "diversity" else None


def table(runs: Sequence[str | Path]) -> list[Row]:
    """One row per run directory: progress, speed, and of each score the last, the best and the best's step.

    Scores taken by different protocols are in different columns. Every row has all columns, None where the
    run lacks one. images_per_s is the median over the reports. Raises UserError for a missing or empty run.
    """
    loaded = _read_runs(runs)
    columns = _columns(loaded)
    rows = []
    for run in loaded:
        last = run.metrics[-1]
        speeds = [s for s in (_number(row.get("images_per_s")) for row in run.metrics) if not math.isnan(s)]
        row: Row = {"run": run.name} | {key: last.get(key) for key in ("step", "images", "seconds")}
        row["images_per_s"] = median(speeds) if speeds else None
        for column, name, identity in columns:
            points = [(step, value) for step, value in _series(run, name, identity) if not math.isnan(value)]
            row[column] = points[-1][1] if points else None
            costs = [(c, step, value) for step, value in points if (c := cost(name, value)) is not None]
            if cost(name, 0.0) is not None:
                _, step, value = min(costs, default=(None, None, None))
                row |= {f"{column} best": value, f"{column} best at step": step}
        rows.append(row)
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return "" if value is None else str(value)


def markdown(rows: Sequence[Row]) -> str:
    """The rows of `table` as a Markdown table, numbers to four digits."""
    header = list(rows[0])
    cells = [[_cell(row[column]).replace("|", "\\|") for column in header] for row in rows]
    ruler = ["---" if column == "run" else "---:" for column in header]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ruler, *cells])


def csv(rows: Sequence[Row]) -> str:
    """The rows of `table` as CSV with a header, numbers in full."""
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plot(runs: Sequence[str | Path], out_png: str | Path) -> None:
    """Draws losses, D's accuracy, gradient norms and every score against the step; a colour a run, a dash a term.

    Long curves are drawn faint, with their running mean on top. Raises UserError for a missing or empty run.
    """
    # Imported here: matplotlib is slow to import, and tables do not need it.
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    loaded = _read_runs(runs)
    colours = [colormaps["tab10"](index % 10) for index in range(len(loaded))]
    score_columns = _columns(loaded)
    # A gradient norm is no loss, and far larger than most.
    norms = ["D/grad_norm", "G/grad_norm"]
    panels = [
        ("D losses", [term for term in _terms(loaded, "D/") if term not in norms]),
        ("G losses", [term for term in _terms(loaded, "G/") if term not in norms]),
        ("D accuracy", _terms(loaded, "D_accuracy_")),
        ("gradient norms", [term for term in norms if term in (*_terms(loaded, "D/"), *_terms(loaded, "G/"))]),
    ]
    panels = [panel for panel in panels if panel[1]]

    across = 3
    down = math.ceil((len(panels) + len(score_columns)) / across)
    figure = Figure(figsize=(5.2 * across, 3.6 * down + 0.5), dpi=110, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flatten()

    for axes, (title, terms) in zip(grid, panels, strict=False):
        for run, colour in zip(loaded, colours, strict=True):
            for term, dash in zip(terms, cycle(DASHES), strict=False):
                points = [(row["step"], _number(row[term])) for row in run.metrics if term in row]
                _draw(axes, points, colour, dash)
        _finish(axes, title)
        if terms:
            styles = zip(terms, cycle(DASHES), strict=False)
            keys = [Line2D([], [], color="0.3", linestyle=dash, label=term) for term, dash in styles]
            axes.legend(handles=keys, fontsize=8, framealpha=0.7)

    for axes, (column, name, identity) in zip(grid[len(panels) :], score_columns, strict=False):
        for run, colour in zip(loaded, colours, strict=True):
            if points := _series(run, name, identity):
                axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3)
        _finish(axes, column)

    for axes in grid[len(panels) + len(score_columns) :]:
        axes.remove()
    keys = [Line2D([], [], color=colour, label=run.name) for run, colour in zip(loaded, colours, strict=True)]
    figure.legend(handles=keys, loc="outside upper center", ncols=min(len(keys), 5), frameon=False)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_png, format="png")


def _terms(runs: Sequence[Run], prefix: str) -> list[str]:
    """The names in the metrics that start with `prefix`, in order of appearance."""
    names = dict.fromkeys(name for run in runs for row in run.metrics for name in row)
    return [name for name in names if name.startswith(prefix)]


def _draw(axes: Axes, points: list[tuple[int, float]], colour: Any, dash: Any) -> None:
    if not points:
        return
    steps, values = np.array(points, dtype=float).T
    window = max(1, len(values) // SMOOTHING)
    if window > 1:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
    mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
    axes.plot(steps[window - 1 :], mean, color=colour, linestyle=dash, linewidth=1.4)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
