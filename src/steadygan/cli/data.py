"""`steadygan data`: check images before training, and pack them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from steadygan.cli.terminal import escape, images_bar, make_console

data_app = typer.Typer(help="Check, pack and fetch images for training.", no_args_is_help=True)

Where = Annotated[
    str, typer.Argument(help="digits, a folder, zip, tar or parquet, a glob of shards, torchvision:NAME, hf:USER/NAME")
]
Root = Annotated[str | None, typer.Option(help="folder of torchvision's data sets", show_default="STEADYGAN_DATA")]
Bits = Annotated[
    int | None,
    typer.Option(min=1, max=31, help="bits in use of 16-bit or 32-bit images, as data.bits", show_default="all 16"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="number of decoding threads", show_default="one for each core")
]


class Crop(StrEnum):
    CENTER = "center"
    NONE = "none"


class Format(StrEnum):
    PNG = "png"
    WEBP = "webp"


@data_app.command("info")
def data_info(
    path: Where,
    sheet: Annotated[Path | None, typer.Option(help="also write a contact sheet as PNG")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print everything as JSON, the fingerprint included")] = False,
    root: Root = None,
    bits: Bits = None,
    threads: Threads = None,
) -> None:
    """Report on images: sizes, classes, duplicates, unreadable files.

    With advice, and the command to train on them.
    """
    from steadygan.cli.planning import tell_of_folder
    from steadygan.data.containers.registry import is_name
    from steadygan.data.describe import contact_sheet, describe
    from steadygan.data.digits import EMBEDDED
    from steadygan.data.ordered import THREADS
    from steadygan.files import check_apart, check_folder

    tell_of_folder(path, "embedded set", EMBEDDED)
    if sheet is not None and not is_name(path) and Path(path).expanduser().is_dir():
        check_apart(sheet, Path(path), "the images themselves, of which the sheet would become one", option="--sheet")
    if sheet is not None:
        check_folder(sheet.parent, sheet, option="--sheet")
    with images_bar("looking") as progress:
        found = describe(path, root=root, progress=progress, threads=threads or THREADS, bits=bits)
    if sheet is not None:
        contact_sheet(path, sheet, root=root, bits=bits)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _tell(found, root, bits)
    if found["unreadable"]:
        raise typer.Exit(1)


def _tell(found: dict[str, Any], root: str | None, bits: int | None) -> None:
    """Prints a summary, with advice and the next command."""
    from steadygan.recipes.advice import advice, command, summary_lines
    from steadygan.recipes.look import mirror, summary

    mirrored = mirror(found["path"], channels=found["channels"], root=root, bits=bits)
    look, console = summary(found, mirror=mirrored), make_console()
    for what, how in summary_lines(look):
        console.print(f"{what:<12}{escape(how)}", highlight=False, soft_wrap=True)
    for name, reason in look.unreadable.items():
        console.print(f"            {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    for line in advice(look):
        console.print(f"[yellow]note[/]        {escape(line)}", highlight=False, soft_wrap=True)
    proposal = found["proposal"]
    for part, sides in proposal.get("domains", {}).items():
        how = "pairs of one name" if sides["paired"] else "not in pairs"
        console.print(f"domains     {part}: A {sides['a']:,}, B {sides['b']:,}, {how}", highlight=False)
    for folder, count in proposal.get("splits", {}).items():
        console.print(f"split       {escape(folder)}/: {count:,} images", highlight=False)
    command_to_train = command(look, bits=bits, proposed=proposal.get("command"))
    if command_to_train is not None:
        console.print(f"next        [bold]{escape(command_to_train)}[/]", highlight=False, soft_wrap=True)


@data_app.command("pack")
def data_pack(
    src: Where,
    out: Annotated[Path, typer.Argument(help="the zip to write", show_default=False)],
    size: Annotated[int, typer.Option(min=1, help="side of the images, in pixels", show_default=False)],
    crop: Annotated[Crop, typer.Option(help="center: the centre square; none: whole images")] = Crop.CENTER,
    format: Annotated[Format, typer.Option(help="format of the images in the zip, both lossless")] = Format.PNG,
    channels: Annotated[
        int | None,
        typer.Option(min=1, max=3, help="colour channels: 1 (grey) or 3 (RGB)", show_default="as the images"),
    ] = None,
    max_unreadable: Annotated[
        float, typer.Option(min=0, max=1, help="largest share of images that cannot be read, as a fraction")
    ] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="replace OUT if it exists")] = False,
    root: Root = None,
    bits: Bits = None,
    threads: Threads = None,
) -> None:
    """Pack images into one zip, decoded, cropped and resized.

    The same images make the same bytes.
    """
    from steadygan.cli.planning import tell_of_folder
    from steadygan.data.containers.registry import is_name
    from steadygan.data.digits import EMBEDDED
    from steadygan.data.ordered import THREADS
    from steadygan.data.pack import pack
    from steadygan.data.source import open_source
    from steadygan.files import check_apart, check_folder

    if channels == 2:
        raise typer.BadParameter("1 (grey) or 3 (RGB)", param_hint="--channels")
    tell_of_folder(src, "embedded set", EMBEDDED)
    if not is_name(src):
        check_apart(out, Path(src), "the images to pack, which must not change", option="OUT")
    check_folder(out.parent, out, option="OUT")
    source = open_source(src, size=size, channels=channels, root=root, bits=bits)
    with images_bar("packing") as progress:
        packed = pack(
            source,
            out,
            crop=crop.value,
            format=format.value,
            force=force,
            max_unreadable=max_unreadable,
            progress=progress,
            threads=threads or THREADS,
        )
    typer.echo(f"{out}: {packed.count:,} images, {packed.bytes / 2**20:.1f} MiB")
    for name, reason in packed.unreadable.items():
        typer.echo(f"skipped {name}: {reason}", err=True)


@data_app.command("get")
def data_get(
    name: Annotated[
        str | None, typer.Argument(help="a data set, or a preset that is trained on it; without: lists them")
    ] = None,
    out: Annotated[Path, typer.Option(help="the folder for its files; the presets look in data/")] = Path("data"),
    root: Root = None,
) -> None:
    """Fetch the images of a published experiment and pack them."""
    from steadygan import config as configuration
    from steadygan.data.published import SETS, find_set, get

    if name is None:
        for known, found in SETS.items():
            what = ", ".join(f"{file.images:,} images" for file in found.files.values()) or found.by_hand
            typer.echo(f"{known:<20} {what}")
        return
    if name in configuration.preset_names() and name not in SETS:
        name = configuration.load(name, preset=True).data.path
    with ExitStack() as bars:
        for file, images, there in get(
            find_set(name), out, root=root, progress=lambda file: bars.enter_context(images_bar(file))
        ):
            typer.echo(f"{file}: {images:,} images{' (was there)' if there else ''}")
