"""`steadygan sample`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import RunOrCheckpoint, Weights
from steadygan.errors import UserError


def sample(
    path: RunOrCheckpoint,
    num: Annotated[int, typer.Option(help="how many images")] = 64,
    classes: Annotated[str | None, typer.Option(help="numbers or names, taken in turn: 3 or cat,dog")] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same images")] = 0,
    truncation: Annotated[float | None, typer.Option(help="smaller is cleaner and less varied, e.g. 0.5")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="a .png for one sheet, else a folder  [default: samples.png in PATH]"),
    ] = None,
    weights: Weights = "ema",
) -> None:
    """Make images with a trained generator, from its checkpoint alone."""
    from steadygan.files import write_whole
    from steadygan.generators.loading import load
    from steadygan.pictures.grid import save_grid, to_pil

    if weights not in ("ema", "raw"):
        raise UserError(f"--weights must be ema or raw, not {weights!r}")
    generator = load(path, weights=weights)  # type: ignore[arg-type]
    chosen = None if classes is None else [entry.strip() for entry in classes.split(",")]
    images = generator.sample(num, classes=chosen, seed=seed, truncation=truncation)
    out = out or path / "samples.png"
    if out.is_file() and out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is a file: name a .png for one sheet, or a folder")
    if out.suffix.lower() == ".png":
        out.parent.mkdir(parents=True, exist_ok=True)
        every = len(chosen) if chosen else generator.classes
        columns = every if 4 <= every <= 16 else round(num**0.5) or 1
        save_grid(images, out, min(columns, num))
    else:
        out.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            write_whole(out / f"{index:06d}.png", partial(to_pil(image).save, format="PNG"))
    if generator.licence:
        typer.echo(f"licence     {generator.licence}")
    typer.echo(f"{num} images   {out}")
