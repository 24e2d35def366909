"""Tables that compare runs, as Markdown and CSV."""

from __future__ import annotations

import csv as csv_format
import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from steadygan.reports.grouping import group_seeds, merge_rows
from steadygan.runs.reading import Row, cost, number, read_runs, score_columns, series


def table(runs: Sequence[str | Path], *, seeds: bool = False) -> list[Row]:
    """One row per run: progress, speed, and the last, the best and the best's step of each score.

    Scores with different protocols are in different columns. Every row has all columns; missing values are None.
    images_per_s is the median over log lines. seeds: one row for runs that differ only in the seed, with their number
    and means; standard deviations are in columns `NAME sd`. Raises UserError for a missing or empty run.
    """
    loaded = read_runs(runs)
    columns = score_columns(loaded)
    rows = []
    for run in loaded:
        last = run.metrics[-1]
        speeds = [s for s in (number(row.get("images_per_s")) for row in run.metrics) if not math.isnan(s)]
        row: Row = {"run": run.name} | {key: last.get(key) for key in ("step", "images", "seconds")}
        row["images_per_s"] = median(speeds) if speeds else None
        better = {k: way for row in run.scores for k, way in row["protocol"].get("better", {}).items()}
        for column, name, identity in columns:
            points = [(step, value) for step, value in series(run, name, identity) if not math.isnan(value)]
            row[column] = points[-1][1] if points else None
            costs = [(c, step, value) for step, value in points if (c := cost(name, value, better)) is not None]
            if cost(name, 0.0, better) is not None:
                _, step, value = min(costs, default=(None, None, None))
                row |= {f"{column} best": value, f"{column} best at step": step}
        rows.append(row)
    if seeds:
        scores = [name for column, *_ in columns for name in (column, f"{column} best")]
        return merge_rows(rows, group_seeds(loaded), scores)
    return rows


def folded(rows: Sequence[Row]) -> list[Row]:
    """Merges each column with its `NAME sd`: 1.63 ± 0.13."""
    spreads = {column for row in rows for column in row if column.endswith(" sd")}
    return [{column: _folded(row, column) for column in row if column not in spreads} for row in rows]


def _folded(row: Row, column: str) -> Any:
    sd = row.get(f"{column} sd")
    return row[column] if sd is None else f"{_cell(float(row[column]))} ± {_cell(sd)}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return "" if value is None else str(value)


def markdown(rows: Sequence[Row]) -> str:
    """Formats the rows of `table` as Markdown, with four digits and standard deviations after their means."""
    rows = folded(rows)
    header = list(rows[0])
    cells = [[_cell(row[column]).replace("|", "\\|") for column in header] for row in rows]
    ruler = ["---" if column == "run" else "---:" for column in header]
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ruler, *cells])


def csv(rows: Sequence[Row]) -> str:
    """Formats the rows of `table` as CSV with a header and full precision."""
    text = io.StringIO()
    writer = csv_format.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
