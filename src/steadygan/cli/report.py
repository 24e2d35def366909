"""`steadygan report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.errors import UserError, no_run


def report(
    path: Annotated[Path, typer.Argument(help="a run directory", show_default=False)],
    to: Annotated[list[str], typer.Option(help="tensorboard, wandb, trackio or module:NAME", show_default=False)],
) -> None:
    """Send a run's records to TensorBoard, wandb or Trackio.

    Scalars, scores, grids and the configuration are sent, each once, however often the command is repeated.
    """
    from steadygan.trackers.clients import check, open_by_name
    from steadygan.trackers.reporter import Reporter

    if not (path / "config.yaml").is_file():
        raise UserError(no_run(path))
    check(to, where="--to")
    for name in to:
        reporter = Reporter(path, name, open_by_name(name, where="--to"))
        try:
            reporter.send()
        finally:
            reporter.close()
        typer.echo(f"reported    {path} to {name}")
