"""`steadygan sample`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
    progress_bars,
)
from steadygan.errors import UserError


def sample(
    path: RunOrCheckpoint,
    num: Annotated[int, typer.Option(help="number of images, 1 or more")] = 64,
    classes: Classes = None,
    seed: Annotated[int, typer.Option(help="random seed, 0 or more: the same seed gives the same images")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="one image per seed, instead of --num and --seed: 3,17,100-120")
    ] = None,
    moves: Annotated[
        str | None,
        typer.Option(
            help="with --seeds: turn each latent towards those of other seeds, as SEED:QUARTER-TURNS, e.g. "
            "7:0.3,9:-0.1 (negative: away)"
        ),
    ] = None,
    truncation: TruncationOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="a .png for one sheet, else a folder  [default: samples.png in the run]"),
    ] = None,
    weights: Weights = "ema",
    device: Device = "auto",
) -> None:
    """Generate images from a checkpoint."""
    from steadygan.files import check_folder, check_picture, make_folder, write_text, write_whole
    from steadygan.generators.loading import load
    from steadygan.generators.remaking import column_names, label_of, stamp_for
    from steadygan.generators.seeds import parse_moves, parse_seeds
    from steadygan.pictures.grid import columns_for, save_grid, to_pil
    from steadygan.pictures.stamp import SIDECAR, saving, sidecar
    from steadygan.runs.outputs import check_output, default_output

    if moves is not None and seeds is None:
        raise UserError("--moves needs --seeds: add them, or leave out --moves")
    if out is not None and out.is_file() and out.suffix.lower() != ".png":
        raise UserError(f"--out {out} is a file: name a .png for one sheet, or a folder")
    out = out or default_output(path, "samples.png")
    check_picture(out)
    folder = out.parent if out.suffix.lower() == ".png" else out
    check_folder(folder, out)
    check_output(out, path)
    introduce(path)
    generator = load(path, device=device, weights=weights)
    chosen = as_classes(classes)
    arguments: dict[str, Any] = {
        "classes": chosen,
        "truncation": as_truncation(truncation),
    }
    if seeds is None:
        call = "sample"
        arguments |= {"num": num, "seed": seed}
    else:
        call = "from_seeds"
        arguments |= {"seeds": parse_seeds(seeds), "moves": parse_moves(moves or ""), "batch_size": 1}
    with progress_bars():
        images = getattr(generator, call)(**arguments)
    num = len(images)
    stamp = stamp_for(generator, weights, call, arguments)
    make_folder(folder, out)
    if out.suffix.lower() == ".png":
        every = len(chosen or generator.trained_classes) if generator.classes else 0
        columns = columns_for(num, every)
        names = column_names(replace(stamp, columns=columns), generator)
        sheet = replace(stamp, columns=columns, column_names=tuple(names[:columns]))
        if num == 1:
            one = stamp.of(0, *label_of(generator, chosen, 0))
            write_whole(out, lambda file: to_pil(images[0]).save(file, format="PNG", **saving(one, "PNG")))
        else:
            save_grid(images, out, columns, sheet, names)
    else:
        stamps = {f"{i:06d}.png": stamp.of(i, *label_of(generator, chosen, i)) for i in range(num)}
        for image, (name, each) in zip(images, stamps.items(), strict=True):
            write_whole(out / name, partial(to_pil(image).save, format="PNG", **saving(each, "PNG")))
        write_whole(out / SIDECAR, lambda file: file.write_text(sidecar(stamps), encoding="utf-8"))
        if generator.classes:
            from steadygan.data.labels import TABLE, labels_table

            write_text(
                out / TABLE, labels_table({name: each.class_name or str(each.label) for name, each in stamps.items()})
            )
    print_licence(generator.licence)
    typer.echo(f"{num} images   {out}")
