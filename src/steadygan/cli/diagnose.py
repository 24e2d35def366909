"""`steadygan diagnose`: a verdict on a run, and settings to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import cell, escape, make_console
from steadygan.errors import command_line


def diagnose(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="print the verdict as JSON")] = False,
) -> None:
    """Say in one sentence how a run is doing, and what to change. Reads only its records."""
    from steadygan.diagnosis.reading import diagnose_run

    verdict = diagnose_run(path)
    if as_json:
        typer.echo(json.dumps(verdict.as_json()))
        return
    console = make_console()
    console.print(f"[bold]{verdict.kind}[/]", highlight=False)
    console.print(escape(verdict.sentence), highlight=False)
    if verdict.numbers:
        measured = "  ".join(f"{name} {cell(value)}" for name, value in verdict.numbers.items())
        since = "" if verdict.since_step is None else f"  (since step {verdict.since_step})"
        console.print(f"measured    {escape(measured)}{since}", highlight=False)
    for advice in verdict.advice:
        console.print(f"change      {escape(advice.override())}  {escape(advice.why)}", highlight=False)
    if verdict.advice:
        command = command_line("train", path / "config.yaml", "--out", f"{path}-2", verdict.advice[0].override())
        console.print(f"e.g.        {escape(command)}", highlight=False, soft_wrap=True)
