"""`steadygan stop`, `pause`, `resume` and `branch`: control of a run from another process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import Overrides
from steadygan.errors import command_line

RunPath = Annotated[Path, typer.Argument(help="a run directory", show_default=False)]


def stop(run: RunPath) -> None:
    """Save a checkpoint at the next step and end a run."""
    from steadygan.runs.requests import ask

    ask(run, "stop")
    typer.echo(f"asked       {run} writes a checkpoint at its next step and ends")


def pause(run: RunPath) -> None:
    """Pause a run at its next step."""
    from steadygan.runs.requests import ask

    ask(run, "pause")
    typer.echo(f"asked       {run} waits from its next step on; `{command_line('resume', run)}` ends the pause")


def resume(run: RunPath) -> None:
    """Continue a paused run. To continue one that has ended, use `train RUN --resume`."""
    from steadygan.runs.requests import ask

    ask(run, "resume")
    typer.echo(f"asked       {run} continues")


def branch(
    run: RunPath,
    overrides: Overrides = None,
    at: Annotated[
        int | None, typer.Option(help="the step of the checkpoint to start from  [default: the newest]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the new run directory  [default: RUN-STEP]")] = None,
) -> None:
    """Start a new run from a checkpoint, with changed settings."""
    from steadygan.files import check_folder
    from steadygan.runs.branching import branch as split_off
    from steadygan.runs.outputs import check_output

    out = out or run.with_name(f"{run.resolve().name}-{'newest' if at is None else at}")
    check_folder(out.parent, out)
    check_output(out, run)
    step = split_off(run, out, step=at, overrides=overrides or [])
    typer.echo(f"branched    {out} starts where {run} was at step {step}")
    typer.echo(f"train       {command_line('train', out, '--resume')}")
