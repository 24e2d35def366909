"""`steadygan evaluate` and `steadygan compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import Weights, cell, escape, make_console, print_scores
from steadygan.errors import UserError


def evaluate(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    protocol: Annotated[str | None, typer.Option(help="a named protocol  [default: the one for the data]")] = None,
    weights: Weights = "ema",
) -> None:
    """Score a run's best (else newest) checkpoint, and record the score with its protocol."""
    from steadygan.hub import evaluate as evaluate_run

    if weights not in ("ema", "raw"):
        raise UserError(f"--weights must be ema or raw, not {weights!r}")
    print_scores(make_console(), evaluate_run(path, protocol=protocol, weights=weights))  # type: ignore[arg-type]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run directories", show_default=False)],
    out: Annotated[Path, typer.Option(help="where the curves go")] = Path("compare.png"),
    form: Annotated[str, typer.Option("--format", help="table, markdown or csv")] = "table",
) -> None:
    """Put runs side by side: a table here, loss and score curves in a PNG."""
    from steadygan.metrics import compare as comparison
    from steadygan.metrics import tables

    rows = tables.table(runs)
    console = make_console()
    if form == "markdown":
        typer.echo(tables.markdown(rows), nl=False)
    elif form == "csv":
        typer.echo(tables.csv(rows), nl=False)
    elif form == "table":
        from rich.table import Table

        # A run a column: there are more quantities than fit side by side, and their names are long.
        sheet = Table("run", box=None)
        for row in rows:
            sheet.add_column(escape(row["run"]), justify="right", overflow="fold")
        for key in list(rows[0])[1:]:
            sheet.add_row(escape(key), *(cell(row[key]) for row in rows))
        console.print(sheet)
    else:
        raise UserError(f"--format must be table, markdown or csv, not {form!r}")
    comparison.plot(runs, out)
    if form == "table":
        typer.echo(f"curves   {out}")
