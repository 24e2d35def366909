"""`steadygan translate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.importing import introduce
from steadygan.cli.terminal import Device, RunOrCheckpoint, Weights, complain, print_licence
from steadygan.errors import UserError


def translate(
    path: RunOrCheckpoint,
    source: Annotated[Path, typer.Option("--input", help="a folder or zip of images, or one image")],
    out: Annotated[Path, typer.Option(help="the folder for the translated images, PNG under the same names")],
    direction: Annotated[str, typer.Option(help="a2b or b2a")] = "a2b",
    tile: Annotated[
        int, typer.Option(help="process larger images in overlapping tiles of this side, in pixels: a multiple of 4")
    ] = 1024,
    overlap: Annotated[int, typer.Option(help="least overlap of tiles, in pixels, below --tile")] = 128,
    weights: Weights = "ema",
    device: Device = "auto",
    max_unreadable: Annotated[
        float,
        typer.Option(min=0, max=1, help="largest share of images that cannot be read or are too small, as a fraction"),
    ] = 0.5,
) -> None:
    """Translate images to the other domain. Images keep their size."""
    from steadygan.data.decoding import UnreadableImage, check_unreadable
    from steadygan.data.domains import open_whole
    from steadygan.files import check_apart, check_folder, check_picture, make_folder, write_whole
    from steadygan.generators.loading import load_translator
    from steadygan.generators.translation import TooSmall
    from steadygan.pictures.grid import to_pil
    from steadygan.runs.outputs import check_output

    introduce(path)
    translator = load_translator(path, device=device, weights=weights)
    images = open_whole(source, channels=translator.channels)
    if out.is_file():
        raise UserError(f"--out {out} is a file: name a folder")
    check_picture(out, known=())
    targets = [out / Path(name).with_suffix(".png") for name in images.names]
    inside = [".." not in Path(name).parts and (out / name).is_relative_to(out) for name in images.names]
    if strays := [target for target, good in zip(targets, inside, strict=True) if not good]:
        raise UserError(f"{source} holds an image that would be written outside {out}: {strays[0]}")
    check_folder(out, out)
    check_output(out, path)
    for target in (out, *targets) if source.is_dir() else targets:
        check_apart(target, source, "the input, which is not overwritten")
    first: dict[Path, str] = {}
    for target, name in zip(targets, images.names, strict=True):
        if (other := first.setdefault(target, name)) != name:
            raise UserError(
                f"{other} and {name} in {source} differ only in their ending: rename one, as both would become {target}"
            )
    failures: list[UnreadableImage] = []
    for index, target in enumerate(targets):
        try:
            made = translator.translate(images.read(index), direction, tile=tile, overlap=overlap)
        except UnreadableImage as failure:
            failures.append(failure)
        except TooSmall as error:
            failures.append(UnreadableImage(images.names[index], str(error)))
        else:
            make_folder(target.parent, out)
            write_whole(target, partial(to_pil(made).save, format="PNG"))
    check_unreadable(failures, len(targets), max_unreadable)
    for skipped in failures:
        complain("skipped", f"{skipped.name}: {skipped.reason}", style="bold yellow")
    print_licence(translator.licence)
    typer.echo(f"{len(targets) - len(failures)} images   {out}")
