"""Scores as a function of a setting, such as the fraction of the data: table and figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from steadygan.errors import UserError, command_line, nearest, require
from steadygan.files import write_whole
from steadygan.reports.curves import wrapped
from steadygan.reports.grouping import group_seeds, mean_and_sd
from steadygan.runs.reading import Row, Run, cost, protocol_difference, read_runs, score_columns, series

Pick = Literal["last", "best"]


def against(runs: Sequence[str | Path], key: str, *, pick: Pick = "last") -> list[Row]:
    """One row per value of `key` and series: means of every score over seeds, with standard deviations in `NAME sd`.

    A series consists of runs that differ at most in `key` and `train.seed`. pick: a run's last or best score; the best
    favours runs that were scored more often. Only scores with the same protocol at two or more values are included.
    Raises UserError for a key that a run lacks, and if no score is left.
    """
    loaded = read_runs(runs)
    for run in loaded:
        if key not in run.config:
            known = [k for k in run.config if isinstance(run.config[k], int | float)] or ["nothing: no config.yaml"]
            raise UserError(f"--against {key}: the configuration of {run.name} has no such key; {nearest(key, known)}")
    groups = group_seeds(loaded, but=key)
    columns = [entry for entry in score_columns(loaded) if len(_values(_scored(loaded, *entry[1:]), key)) > 1]
    if not columns:
        if len(_values(loaded, key)) < 2:
            raise UserError(
                f"--against {key}: all runs have {loaded[0].config[key]!r}; choose a setting in which they differ"
            )
        raise UserError(
            f"--against {key}: no two values of {key} were scored by the same protocol; the protocols differ in "
            f"{', '.join(protocol_difference(loaded)) or 'nothing, but runs lack scores'}. Score all runs in the same "
            f"way, against the same images: `{command_line('evaluate', 'RUN', '--protocol', 'NAME')}`"
        )
    rows = []
    for group in groups:
        for value in _values(group.runs, key):
            members = [run for run in group.runs if run.config[key] == value]
            row: Row = {"run": group.name, key: value, "seeds": len(members)}
            for column, name, identity in columns:
                scores = [_picked(series(run, name, identity), name, pick) for run in members]
                there = [score for score in scores if score is not None]
                row[column], row[f"{column} sd"] = mean_and_sd(there) if len(there) == len(members) else (None, None)
            rows.append(row)
    return rows


def _scored(runs: Sequence[Run], name: str, identity: str) -> list[Run]:
    return [run for run in runs if series(run, name, identity)]


def _values(runs: Sequence[Run], key: str) -> list[Any]:
    """The distinct values of a key, sorted by number or alphabetically."""
    values = list({str(run.config[key]): run.config[key] for run in runs}.values())
    return sorted(values) if _are_numbers(values) else sorted(values, key=str)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _picked(points: Sequence[tuple[int, float]], name: str, pick: Pick) -> float | None:
    values = [value for _, value in points if not math.isnan(value)]
    if not values:
        return None
    if pick == "best" and cost(name, 0.0) is not None:
        return min(values, key=lambda value: cost(name, value) or 0.0)
    return values[-1]


def plot_against(rows: Sequence[Row], key: str, out_png: str | Path) -> None:
    """Draws the rows of `against`: one panel per score, one line per series, bars of one standard deviation over seeds.

    Values that span a factor of ten or more get a logarithmic axis.
    """
    require("matplotlib", "plot", "drawing curves")
    from matplotlib.figure import Figure

    scores = [column for column in rows[0] if column not in ("run", key, "seeds") and not column.endswith(" sd")]
    values = list({str(row[key]): row[key] for row in rows}.values())
    numeric = _are_numbers(values)
    places = {str(value): value if numeric else place for place, value in enumerate(sorted(values, key=str))}
    figure = Figure(figsize=(4.4 * len(scores), 3.9), dpi=110, layout="constrained")
    for axes, score in zip(figure.subplots(1, len(scores), squeeze=False).flatten(), scores, strict=True):
        for name in dict.fromkeys(row["run"] for row in rows):
            line = [row for row in rows if row["run"] == name and row[score] is not None]
            spread = [row[f"{score} sd"] or 0.0 for row in line]
            axes.errorbar(
                [places[str(row[key])] for row in line],
                [row[score] for row in line],
                spread if any(spread) else None,
                marker="o",
                markersize=4,
                capsize=3,
                label=name,
            )
        if numeric and min(values) > 0 and max(values) >= 10 * min(values):
            axes.set_xscale("log")
        axes.set_xticks(list(places.values()), list(places))
        axes.minorticks_off()
        axes.set_title(wrapped(score), fontsize=10)
        axes.set_xlabel(key, fontsize=9)
        axes.grid(alpha=0.25)
    if len({row["run"] for row in rows}) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(out_png), partial(figure.savefig, format="png"))
