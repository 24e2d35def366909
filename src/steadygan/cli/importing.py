"""`steadygan import`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steadygan.cli.terminal import escape, make_console, print_licence
from steadygan.errors import UserError, command_line

if TYPE_CHECKING:
    from steadygan.importing import Imported

SHOWN = 5
"""Maximum number of unused tensors to print; the manifest lists all."""


def import_weights(
    files: Annotated[list[Path], typer.Argument(help="weights that belong together: a .pkl or .pt, or G.pth D.pth …")],
    out: Annotated[Path, typer.Option(help="the folder for the checkpoint, which must not exist yet")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="a setting that the file does not record, as name=value; may be repeated"),
    ] = None,
    family: Annotated[str | None, typer.Option(help="the program that wrote the file, if it is not recognised")] = None,
) -> None:
    """Import a public checkpoint, executing nothing in it.

    StyleGAN2 (NVIDIA's .pkl, rosinality's .pt), BigGAN and BigGAN-deep, U-Net GAN, StudioGAN, CycleGAN and pix2pix.
    """
    from steadygan.files import check_folder
    from steadygan.importing import import_files

    check_folder(out.parent, out)
    given: dict[str, str] = {}
    for setting in settings or []:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UserError(f"--set {setting}: not of the form name=value, such as size=256")
        given[name] = value
    imported = import_files(files, out, given, family)
    console = make_console()
    for line in summary(imported):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"checkpoint  {escape(str(out))}", highlight=False, soft_wrap=True)
    print_use(out, translates="directions" in imported.generator)


def print_use(what: object, *, translates: bool) -> None:
    """Prints the command that generates images with a new checkpoint."""
    rest = ("--input", "FOLDER", "--out", "FOLDER") if translates else ("--num", "16")
    use = command_line("translate" if translates else "sample", what, *rest)
    make_console().print(f"use         {escape(use)}", highlight=False, soft_wrap=True)


def summary(imported: Imported) -> list[str]:
    """A summary of an import in a few lines."""
    lines = described(imported.generator, imported.family)
    lines += [f"networks    {', '.join(sorted(imported.networks))}"]
    lines += [f"assumed     {text}" for text in imported.assumed]
    lines += [f"left out    {text}" for text in imported.left_out[:SHOWN]]
    if len(imported.left_out) > SHOWN:
        lines.append(f"left out    and {len(imported.left_out) - SHOWN} more, which the manifest names")
    if imported.licence:
        lines.append(f"licence     {imported.licence}")
    return lines


def described(made: Mapping[str, Any], family: str) -> list[str]:
    """A file's content in two lines. made: the description of its generator."""
    shape = f"{made['channels']}×{made['size']}×{made['size']}"
    classes = f", {made['classes']} classes" if made["classes"] else ""
    return [f"family      {family}", f"generator   {made['kind']}, images of {shape}{classes}"]


def introduce(path: Path) -> None:
    """Describes another program's file before it is used as a checkpoint (`importing.opening`)."""
    from steadygan.runs.shared import is_foreign

    if is_foreign(path):
        from steadygan.importing.opening import as_checkpoint
        from steadygan.runs.checkpoint import read_manifest

        warnings.filterwarnings("ignore", f"{re.escape(str(path))}: assumed ")  # printed here instead
        manifest = read_manifest(as_checkpoint(path), ())
        lines = described(manifest["generator"], manifest["origin"]["family"])
        lines += [f"assumed     {text}" for text in manifest["origin"]["assumed"]]
        if any("--set" in line for line in lines):
            lines.append(f"settings    {command_line('import', path, '--set', 'NAME=VALUE', '--out', 'FOLDER')}")
        console = make_console()
        for line in lines:
            console.print(escape(line), highlight=False, soft_wrap=True)


def print_terms(path: Path) -> None:
    """Prints the licence of imported weights at a path, if known."""
    from steadygan.importing.opening import as_checkpoint
    from steadygan.runs.checkpoint import find_checkpoint, licence, read_manifest

    checkpoint = find_checkpoint(as_checkpoint(path))
    print_licence(licence(checkpoint, read_manifest(checkpoint, ())))
