"""`steadygan export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.importing import introduce, print_terms, print_use
from steadygan.cli.terminal import RunOrCheckpoint


def export(
    path: RunOrCheckpoint,
    to: Annotated[
        str,
        typer.Option(
            help="safetensors, zip, onnx, torch, state-dict, hub:USER/NAME, rosinality, stylegan2-ada or cyclegan"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="the file or folder, which must not exist yet  [default: generator… in the run]")
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            help="onnx, torch: the truncation, above 0, that batch norm statistics are for, "
            "where the graph fixes them  [default: none]"
        ),
    ] = None,
    licence: Annotated[str, typer.Option(help="the licence you give the weights, for the card")] = "",
    public: Annotated[bool, typer.Option("--public", help="hub: make the repository public")] = False,
) -> None:
    """Export a generator: folder, zip, ONNX, torch or the Hub.

    A folder or zip has a model card with scores and protocols, and `sample` takes it like a checkpoint.
    """
    from steadygan.exporting import export as write

    introduce(path)
    written = write(path, to, out, truncation=truncation, licence=licence, public=public)
    print_terms(path)
    typer.echo(f"exported    {written}")
    if to in ("safetensors", "zip") or to.startswith("hub:"):
        from steadygan.generators.translator import is_translation
        from steadygan.importing.opening import as_checkpoint
        from steadygan.runs.checkpoint import find_checkpoint

        what = to if to.startswith("hub:") else written
        print_use(what, translates=is_translation(find_checkpoint(as_checkpoint(path))))
