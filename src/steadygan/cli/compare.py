"""`steadygan compare`: tables and curves of several runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from steadygan.cli.terminal import cell, escape, make_console
from steadygan.errors import UserError

WRITTEN = (".png", ".md", ".csv")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run directories", show_default=False)],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="a .png for the curves, a .md or .csv for the table; may be repeated  [default: compare.png]"
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="format of the printed table: table, markdown or csv")
    ] = "table",
    group_seeds: Annotated[
        bool, typer.Option("--group-seeds", help="group runs that differ only in train.seed: mean ± standard deviation")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="draw scores against a setting, over seeds, e.g. data.fraction", metavar="KEY")
    ] = None,
    at: Annotated[str, typer.Option(help="with --against: last or best, the score of a run that is drawn")] = "last",
) -> None:
    """Compare runs: a table here, curves in a PNG."""
    from steadygan.files import check_folder, make_folder, write_whole
    from steadygan.reports import curves as comparison
    from steadygan.reports import tables
    from steadygan.reports.against import against as rows_against
    from steadygan.reports.against import plot_against
    from steadygan.runs.outputs import check_output

    out = out or [Path("compare.png")]
    if form not in ("table", "markdown", "csv"):
        raise UserError(f"--format must be table, markdown or csv, not {form!r}")
    if at not in ("last", "best"):
        raise UserError(f"--at must be last or best, not {at!r}")
    if wrong := [path for path in out if path.suffix.lower() not in WRITTEN]:
        raise UserError(f"--out {wrong[0]}: name a .png for the curves, or a .md or .csv for the table")
    for path in out:
        check_folder(path.parent, path)
        for run in runs:
            check_output(path, run)
    rows = (
        tables.table(runs, seeds=group_seeds) if against is None else rows_against(runs, against, pick=at)  # type: ignore[arg-type]
    )
    if form == "table":
        _print(tables.folded(rows))
    else:
        typer.echo(tables.markdown(rows) if form == "markdown" else tables.csv(rows), nl=False)
    for path in out:
        make_folder(path.parent, path)
        if path.suffix.lower() != ".png":
            text = tables.markdown(rows) if path.suffix.lower() == ".md" else tables.csv(rows)
            write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))
        elif against is None:
            comparison.plot(runs, path, seeds=group_seeds)
        else:
            plot_against(rows, against, path)
        if form == "table":
            typer.echo(f"{'curves' if path.suffix.lower() == '.png' else 'table '}   {path}")


def _print(rows: list[dict[str, Any]]) -> None:
    """One column per run, as there are many quantities with long names."""
    from rich.table import Table

    sheet = Table("run", box=None)
    for row in rows:
        sheet.add_column(escape(row["run"]), justify="right", overflow="fold")
    for key in list(rows[0])[1:]:
        sheet.add_row(escape(key), *(cell(row[key]) for row in rows))
    make_console().print(sheet)
