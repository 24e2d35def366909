"""`steadygan evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import Weights, make_console, print_scores
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
