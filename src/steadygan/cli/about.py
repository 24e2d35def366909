"""`steadygan presets` and `steadygan doctor`: what there is to train, and on what."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from steadygan.cli.terminal import escape, make_console


def presets(
    name: Annotated[
        str | None, typer.Argument(help="print this one's YAML, or list those with this in their row")
    ] = None,
) -> None:
    """List the presets with the paper, table row and published score they reproduce."""
    from steadygan import config as configuration

    names = configuration.preset_names()
    if name in names:
        typer.echo(configuration.preset_text(name), nl=False)
        return
    known = {preset: configuration.load(preset).about for preset in sorted(names, key=_numerically)}
    if name is not None:
        wanted = name.casefold()
        known = {
            preset: about
            for preset, about in known.items()
            if wanted in f"{preset}\n{about.paper}\n{about.table}".casefold()
        }
        if not known:
            configuration.preset_text(name)  # says what is nearest
    width, scores = (max(map(len, column)) for column in (known, [about.score for about in known.values()]))
    for paper in dict.fromkeys(about.paper for about in known.values()):
        typer.echo(f"\n{paper}")
        for preset, about in known.items():
            if about.paper == paper:
                typer.echo(f"  {preset:<{width}}  {about.score:<{scores}}  {about.table}")
    typer.echo(f"\n{len(known)} presets; `steadygan presets WORD` lists some, `steadygan presets NAME` prints one")


def _numerically(name: str) -> list[str]:
    """A key that sorts 5k before 10k."""
    return [part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def doctor() -> None:
    """Say what this machine has, and what that means for training."""
    from rich.table import Table

    from steadygan.cli.doctor import Finding, examine
    from steadygan.kernels.winograd.native import obstacle

    findings = examine()
    if reason := obstacle():
        meaning = "convolutions on the CPU are slower (train.winograd by torch's operators); CC names a compiler"
        findings.append(Finding("C compiler", reason, meaning))
    else:
        findings.append(Finding("C compiler", "works", "train.winograd spreads and merges by machine code"))
    sheet = Table("", "what", "found", "which means", box=None)
    for finding in findings:
        sheet.add_row("[green]✓[/]" if finding.ok else "[yellow]![/]", *(escape(text) for text in finding[:3]))
    make_console().print(sheet)
