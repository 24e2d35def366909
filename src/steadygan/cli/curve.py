"""`steadygan curve`: one run at several truncations."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import (
    Data,
    Device,
    MaxUnreadable,
    Weights,
    as_truncation,
    cell,
    make_console,
    progress_bars,
)
from steadygan.errors import UserError


def curve(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    truncation: Annotated[
        str, typer.Option(help="values above 0, such as 0.5 or scaled:0.5, comma-separated; off: no truncation")
    ] = "0.2,0.5,1,2,off",
    protocol: Annotated[str | None, typer.Option(help="a named protocol  [default: the one for the data]")] = None,
    num_fake: Annotated[int | None, typer.Option(help="fakes per score, 2 or more  [default: the protocol's]")] = None,
    reals: Annotated[Path | None, typer.Option(help="the protocol's test images  [default: eval.reals]")] = None,
    max_unreadable: MaxUnreadable = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="a .png or .csv; may be repeated  [default: truncation.png and truncation.csv in PATH]"),
    ] = None,
    weights: Weights = "ema",
    device: Device = "auto",
    data: Data = None,
) -> None:
    """Score a run at several truncations.

    Smaller ones trade diversity for quality: the curve shows both.
    """
    from steadygan.evaluation.run import truncation_curve
    from steadygan.files import check_folder, make_folder, write_whole
    from steadygan.reports import tables
    from steadygan.reports.truncation import plot_truncation, truncation_rows
    from steadygan.runs.outputs import check_output, default_output

    out = out or [default_output(path, "truncation.png"), default_output(path, "truncation.csv")]
    if wrong := [file for file in out if file.suffix.lower() not in (".png", ".csv")]:
        raise UserError(f"--out {wrong[0]}: name a .png for the curve, or a .csv for the numbers")
    for file in out:
        check_folder(file.parent, file)
        check_output(file, path)
    if num_fake is not None and num_fake < 2:
        raise UserError(f"--num-fake {num_fake}: a distance needs at least 2 images")
    with progress_bars():
        records = truncation_curve(
            path,
            _values(truncation),
            protocol=protocol,
            num_fake=num_fake,
            weights=weights,
            reals=reals,
            max_unreadable=max_unreadable,
            device=device,
            data=data,
        )
    rows = truncation_rows(records)
    _print(rows)
    made = records[0]["protocol"]
    for file in out:
        make_folder(file.parent, file)
        if file.suffix.lower() == ".png":
            title = f"{path.resolve().name}, step {records[0]['step']}, {made['name']}: {made['num_fake']} fakes"
            plot_truncation(rows, file, title=title)
        else:
            write_whole(file, partial(Path.write_text, data=tables.csv(rows), encoding="utf-8"))
        typer.echo(f"curve   {file}")


def _values(text: str) -> list[float | str | None]:
    from steadygan.generators.prior import read_truncation

    values: list[float | str | None] = []
    for word in map(str.strip, text.split(",")):
        values.append(None if word == "off" else as_truncation(word))
        if values[-1] is not None:
            try:
                read_truncation(values[-1])
            except UserError as error:
                raise UserError(f"--truncation {text}: {error}; off is no truncation") from error
    return list(dict.fromkeys(values))


def _print(rows: list[dict[str, object]]) -> None:
    from rich.table import Table

    sheet = Table(*rows[0], box=None)
    for row in rows:
        sheet.add_row(*(cell(value) for value in row.values()))
    make_console().print(sheet)
