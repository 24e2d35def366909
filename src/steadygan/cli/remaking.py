"""`steadygan remake`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steadygan.cli.terminal import Device, print_licence
from steadygan.errors import UserError


def remake(
    image: Annotated[Path, typer.Argument(help="an image or a sheet that steadygan wrote", show_default=False)],
    runs: Annotated[Path, typer.Option(help="the directory in which its checkpoint is searched")] = Path("runs"),
    out: Annotated[Path | None, typer.Option(help="a .png  [default: NAME-remade.png]")] = None,
    device: Device = "auto",
) -> None:
    """Generate an image again from the metadata in its file."""
    from steadygan.files import cache_root, check_apart, check_folder, write_whole
    from steadygan.generators.generator import Generator
    from steadygan.generators.remaking import check, column_names, find_weights, run_of
    from steadygan.generators.remaking import remake as again
    from steadygan.importing.opening import IMPORTED
    from steadygan.machine import choose_device
    from steadygan.pictures.grid import draw, to_pil
    from steadygan.pictures.stamp import read_stamp, saving

    stamp = read_stamp(image)
    out = out or image.with_name(f"{image.stem}-remade.png")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: the remade image is a .png")
    check_apart(out, image, "the original image, which is not overwritten")
    check_folder(out.parent, out)
    typer.echo(f"stamp       {stamp.sentence()}")
    check(stamp, run_of(image, runs, stamp))
    places = [runs, Path(stamp.run), image.parent, image.absolute().parents[1], cache_root() / IMPORTED]
    checkpoint = find_weights(stamp.checkpoint, places)
    generator = Generator(checkpoint, choose_device(device), stamp.weights)  # type: ignore[arg-type]
    images = again(stamp, generator)
    if stamp.index is not None:
        picture = to_pil(images[0])
    else:
        columns = stamp.columns or len(images)
        names = column_names(stamp, generator) if stamp.named is True else ()
        picture = draw(images, columns, names, times=stamp.enlarged)
    write_whole(out, lambda temporary: picture.save(temporary, format="PNG", **saving(stamp, "PNG")))
    typer.echo(f"checkpoint  {checkpoint}")
    print_licence(generator.licence)
    typer.echo(f"remade      {out}")
