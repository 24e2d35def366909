"""`steadygan plan`, and `steadygan train` on the user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steadygan.cli.terminal import Device, Overrides, cell, complain, escape, images_bar, make_console
from steadygan.errors import UserError, command_line

if TYPE_CHECKING:
    from steadygan.config import Config
    from steadygan.recipes.plan import Plan

Hours = Annotated[
    float | None, typer.Option(min=0.001, help="training time, in hours", show_default="0.5 on a CPU, 1 on a GPU")
]
Size = Annotated[int | None, typer.Option(min=1, help="side of the images, in pixels", show_default="as time allows")]


def plan(
    source: Annotated[str, typer.Argument(help="your images: a folder, zip, tar or parquet, hf:USER/NAME")],
    overrides: Overrides = None,
    hours: Hours = None,
    size: Size = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="also write the choice to this YAML file")] = None,
) -> None:
    """Choose settings for your images, with reasons; start nothing."""
    from steadygan.data.digits import EMBEDDED
    from steadygan.files import check_folder, write_text

    tell_of_folder(source, "embedded set", EMBEDDED)
    if out is not None and out.exists():
        raise UserError(f"--out {out} exists: choose another name")
    if out is not None and out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {out}: name a .yaml file")
    if out is not None:
        check_folder(out.parent, out)
    made = make(source, [*on_device(device), *(overrides or [])], hours, size)
    if out is not None:
        write_text(out, made.to_yaml())
        typer.echo(f"written     {out}; start with `{command_line('train', out)}`")


def on_device(device: str) -> list[str]:
    """--device as an override; empty if the option is omitted."""
    return [] if device == "auto" else [f"train.device={device}"]


def make(source: str, overrides: list[str], hours: float | None, size: int | None) -> Plan:
    """Examines images and machine, chooses settings, and prints them with reasons."""
    from steadygan.recipes.plan import make_plan

    console = make_console()
    with images_bar("reading the images") as progress:
        made = make_plan(
            source,
            hours=hours,
            size=size,
            extra=tuple(overrides),
            progress=progress,
            say=lambda line: console.print(line, style="dim", highlight=False),
        )
    lines = made.lines()
    width = max(len(setting) for _, setting, _ in lines if len(setting) <= 48)
    for what, setting, reason in lines:
        console.print(
            f"{what:<15} {escape(setting):<{width}}  [dim]{escape(reason)}[/]", highlight=False, soft_wrap=True
        )
    console.print(f"the same as     {escape(made.command)}", highlight=False, soft_wrap=True)
    return made


def tell_of_folder(name: str, what: str, names: Sequence[str]) -> None:
    """Says that a name is not the folder of that name, where there is one.

    Args:
        what: the kind of thing that it is.
        names: the names of that kind.
    """
    if name in names and Path(name).is_dir():
        complain("note", f"{name} is the {what}; write ./{name} for the folder", style="yellow")


def is_images(source: str) -> bool:
    """Whether the source of `steadygan train` is a set of images rather than a preset, YAML file or run."""
    from steadygan import config as configuration

    if source in configuration.preset_names() or Path(source).suffix in (".yaml", ".yml"):
        return False
    if source.startswith(("torchvision:", "hf:")):
        return True
    if Path(source).expanduser().is_dir():
        return not (Path(source).expanduser() / "config.yaml").is_file()
    return Path(source).expanduser().is_file() or any(sign in source for sign in "*?[")


def own(config: Config) -> bool:
    """Whether a run's settings were chosen for the user's images."""
    from steadygan.recipes.plan import OWN

    return config.about.paper == OWN


def verdict(path: Path) -> None:
    """Prints the diagnosis of a finished run, and what to try next."""
    from steadygan.diagnosis.reading import diagnose_run
    from steadygan.recipes.pictures import save_film
    from steadygan.runs.directory import RunDirectory

    console = make_console()
    found = diagnose_run(path)
    console.print(f"verdict     [bold]{found.kind}[/]: {escape(found.sentence)}", highlight=False, soft_wrap=True)
    best = RunDirectory(path).best()
    if best is not None:
        scores = [row for row in RunDirectory(path).records("scores.jsonl") if f"{row['step']:08d}" in best.name]
        score = "".join(f", {k} {cell(v)}" for row in scores[-1:] for k, v in row.items() if k.startswith("FD-"))
        console.print(f"best        {escape(str(best))}{score}", highlight=False, soft_wrap=True)
    if (film := save_film(path)) is not None:
        console.print(f"film        {escape(str(film))}", highlight=False, soft_wrap=True)
    for number, advised in enumerate(found.advice[:2]):
        what = "try next" if number == 0 else "or"
        console.print(
            f"{what:<11} {escape(advised.override())}: {escape(advised.why)}", highlight=False, soft_wrap=True
        )
    if found.kind in ("fine", "cannot tell"):
        from steadygan import config as configuration

        hours = configuration.load(path).train.hours
        if hours is not None:
            again = command_line("train", path, "--resume", f"train.hours={2 * hours:g}")
            console.print(f"try next    more time: {escape(again)}", highlight=False, soft_wrap=True)
