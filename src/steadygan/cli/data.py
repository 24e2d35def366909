"""`steadygan data`: look at data before training on it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)


@data_app.command("info")
def data_info(path: Annotated[str, typer.Argument(help="digits, stacked-digits, a folder or a zip")]) -> None:
    """Count, sizes, classes, channels, and every unreadable file by name."""
    from steadygan.data import describe

    found = describe(path)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    if found["unreadable"]:
        raise typer.Exit(1)
