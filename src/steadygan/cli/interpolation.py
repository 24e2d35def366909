"""`steadygan interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from steadygan.cli.importing import introduce
from steadygan.cli.terminal import (
    Classes,
    Device,
    RunOrCheckpoint,
    TruncationOption,
    Weights,
    as_classes,
    as_truncation,
    print_licence,
)
from steadygan.errors import UserError


def interpolate(
    path: RunOrCheckpoint,
    between: Annotated[str, typer.Option(help="latents, classes or both")] = "latents",
    rows: Annotated[int, typer.Option(help="number of paths, 1 or more")] = 4,
    steps: Annotated[int, typer.Option(help="images per path, 2 or more, both ends included")] = 8,
    classes: Classes = None,
    seed: Annotated[int, typer.Option(help="random seed, 0 or more: the same seed gives the same paths")] = 0,
    truncation: TruncationOption = None,
    fps: Annotated[float, typer.Option(help="frames per second of an animation, above 0 and up to 50")] = 12,
    out: Annotated[
        Path | None,
        typer.Option(
            help=".png: a sheet, one path a row; .gif, .webp, .mp4: all paths at once, there and back  "
            "[default: interpolation.png in the run]"
        ),
    ] = None,
    weights: Weights = "ema",
    device: Device = "auto",
) -> None:
    """Interpolate between latents, classes, or both."""
    from steadygan.files import check_folder, make_folder
    from steadygan.generators.loading import load
    from steadygan.generators.remaking import stamp_for
    from steadygan.pictures.animation import ANIMATED, save_animation
    from steadygan.pictures.grid import grid, save_grid
    from steadygan.runs.outputs import check_output, default_output

    out = out or default_output(path, "interpolation.png")
    if out.suffix.lower() not in (".png", *ANIMATED):
        raise UserError(f"--out {out}: name a .png for a sheet, or one of {', '.join(ANIMATED)}")
    chosen = as_classes(classes)
    arguments: dict[str, Any] = {"rows": rows, "steps": steps, "between": between, "classes": chosen}
    arguments |= {"seed": seed, "truncation": as_truncation(truncation)}
    check_folder(out.parent, out)
    check_output(out, path)
    introduce(path)
    generator = load(path, device=device, weights=weights)
    images = generator.interpolate(**arguments)
    stamp = stamp_for(generator, weights, "interpolate", arguments, columns=steps)
    make_folder(out.parent, out)
    if out.suffix.lower() == ".png":
        save_grid(images.flatten(0, 1), out, steps, stamp)
    else:
        across = round(rows**0.5) if rows > 3 else rows
        there = [grid(images[:, step], across) for step in range(steps)]
        save_animation([*there, *there[-2:0:-1]], out, fps=fps, stamp=stamp)
    print_licence(generator.licence)
    typer.echo(f"{rows} paths of {steps} images   {out}")
