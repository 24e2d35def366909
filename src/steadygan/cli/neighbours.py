"""`steadygan neighbours`: the training images nearest to samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadygan.cli.terminal import (
    Classes,
    Data,
    Device,
    TruncationOption,
    Weights,
    as_classes,
    as_truncation,
    escape,
    make_console,
    progress_bars,
)
from steadygan.errors import UserError

if TYPE_CHECKING:
    from steadygan.evaluation.neighbours import Neighbours


def neighbours(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    num: Annotated[int, typer.Option(help="number of samples, 1 or more")] = 8,
    nearest: Annotated[int, typer.Option(help="training images per sample, 1 or more")] = 5,
    features: Annotated[
        str | None, typer.Option(help="an extractor, or your own module:Class  [default: the one for the data]")
    ] = None,
    classes: Classes = None,
    seed: Annotated[int, typer.Option(help="random seed, 0 or more: the same seed gives the same samples")] = 0,
    truncation: TruncationOption = None,
    out: Annotated[Path | None, typer.Option(help="a .png  [default: neighbours.png in PATH]")] = None,
    weights: Weights = "ema",
    device: Device = "auto",
    data: Data = None,
) -> None:
    """Find the training images nearest to samples.

    Nearest in pixels and in an extractor's features, in one grid.
    """
    from steadygan.evaluation import neighbours as explore
    from steadygan.files import check_folder, make_folder, write_whole
    from steadygan.runs.outputs import check_output, default_output

    out = out or default_output(path, "neighbours.png")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: name a .png file")
    check_folder(out.parent, out)
    check_output(out, path)
    with progress_bars():
        result = explore.neighbours(
            path,
            num,
            nearest,
            features=features,
            classes=as_classes(classes),
            seed=seed,
            truncation=as_truncation(truncation),
            weights=weights,
            device=device,
            data=data,
        )
    sheet = result.sheet()
    make_folder(out.parent, out)
    write_whole(out, lambda temporary: sheet.save(temporary, format="PNG"))
    _print(result, nearest)
    typer.echo(f"sheet   {out}: a sample a row, then its nearest in {' and in '.join(result.found)}")


def _print(result: Neighbours, k: int) -> None:
    from rich.table import Table

    sheet = Table("sample", "in", *(f"nearest {place + 1}" for place in range(k)), box=None)
    for name, (found, _) in result.found.items():
        for sample, (distances, indices) in enumerate(zip(found.distances, found.indices, strict=True)):
            entries = (
                f"{distance:.3g} {escape(result.names.get(int(index), f'#{index}'))}"
                for distance, index in zip(distances, indices, strict=True)
            )
            sheet.add_row(str(sample), escape(name), *entries)
    make_console().print(sheet)
