"""`steadygan presets`: the built-in experiments."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated

import typer

from steadygan.errors import UserError, command_line


def presets(
    name: Annotated[
        str | None,
        typer.Argument(help="a preset, to print its YAML; or a word, to list matching presets"),
    ] = None,
) -> None:
    """List the built-in experiments with table row and score."""
    from steadygan import config as configuration

    names = configuration.preset_names()
    if name in names:
        typer.echo(configuration.preset_text(name), nl=False)
        return
    known = {preset: configuration.preset_about(preset) for preset in sorted(names, key=_numerically)}
    if name is not None:
        wanted = name.casefold()
        known = {
            preset: about
            for preset, about in known.items()
            if wanted in f"{preset}\n{about.paper}\n{about.table}".casefold()
        }
        if not known:
            close = get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"no preset has {name!r} in its name, paper or table{hint} (`{command_line('presets')}` lists all)"
            )
    width, scores = (max(map(len, column)) for column in (known, [about.score for about in known.values()]))
    for paper in dict.fromkeys(about.paper for about in known.values()):
        typer.echo(f"\n{paper}")
        for preset, about in known.items():
            if about.paper == paper:
                typer.echo(f"  {preset:<{width}}  {about.score:<{scores}}  {about.table}")
    some, one = command_line("presets", "WORD"), command_line("presets", "NAME")
    typer.echo(f"\n{len(known)} presets; `{some}` lists some, `{one}` prints one")


def _numerically(name: str) -> list[str]:
    """A key that sorts 5k before 10k."""
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
