"""Shared by the commands: arguments, the console, and formats of numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

Overrides = Annotated[list[str] | None, typer.Argument(help="settings as key.path=value …", show_default=False)]
RunOrCheckpoint = Annotated[
    Path,
    typer.Argument(
        help="a run, a checkpoint, an exported folder or .zip, hub:USER/NAME, a .pkl or .pth of another program",
        show_default=False,
    ),
]
MaxUnreadable = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="largest share of images that cannot be read, as a fraction  [default: 0.01, or the run's]"
    ),
]
Data = Annotated[
    str | None, typer.Option(help="where the run's images are now, if they moved  [default: where they were]")
]
TruncationOption = Annotated[
    str | None,
    typer.Option(
        help="above 0, e.g. 0.5: smaller is cleaner and less varied; redrawn:0.5 as in BigGAN's paper, scaled:0.5 as "
        "in its released generators  [default: off]",
    ),
]
Weights = Annotated[Literal["ema", "raw"], typer.Option(help="the averaged weights, or the raw ones")]
Classes = Annotated[
    str | None, typer.Option(help="class numbers or names, used in turn: 3 or cat,dog", show_default=False)
]
Device = Annotated[str, typer.Option(help="where networks run: auto, cpu, cuda, cuda:1, mps")]


def as_classes(text: str | None) -> list[str] | None:
    """Parses `--classes`."""
    return None if text is None else [entry.strip() for entry in text.split(",")]


def as_truncation(text: str | None) -> float | str | None:
    """Parses `--truncation`: a number, or a string that names its kind; None if omitted."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return text


PATIENCE_SECONDS = 2.0
"""Seconds before a command shows its progress."""
OWN_PROTOCOLS = ("images", "squeezenet", "squeezenet-test")
"""Not from a paper: the Inception score is meaningful only for data with several kinds of images."""


def print_scores(console: Console, record: dict[str, Any]) -> None:
    protocol = record.get("protocol", {})
    scores = {k: v for k, v in record.items() if isinstance(v, int | float) and k not in ("step", "eval_seconds")}
    if protocol.get("name") in OWN_PROTOCOLS and protocol.get("classes", 0) < 2:
        scores = {k: v for k, v in scores.items() if not k.startswith("IS")}
    if scores:
        console.print(
            "scores      " + "  ".join(f"{name} {cell(value)}" for name, value in scores.items()),
            highlight=False,
            soft_wrap=True,
        )
        made = f", {protocol.get('weights')} weights, step {record['step']}" if "step" in record else ""
        console.print(
            f"protocol    {protocol.get('name')}: {protocol.get('num_fake')} fakes against {protocol.get('num_real')} "
            f"{protocol.get('split')} reals{made}",
            highlight=False,
            soft_wrap=True,
        )


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, emoji=False, quiet=quiet)  # `module:x:` is a term, not a picture


def complain(word: str, text: str, *, style: str) -> None:
    """`word: text` on stderr."""
    console = make_console(stderr=True)
    with console.capture() as captured:
        console.print(f"[{style}]{word}:[/] {escape(text)}", highlight=False, soft_wrap=True)
    sys.stderr.write(
        captured.get()
    )  # a console would bypass the progress bar's replacement of stderr and write into the bar


_last_warning = [""]
"""Warnings shown so far, as reading the same images again would repeat them."""


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Replaces `warnings.showwarning` on the command line: prints only the message, on one line, once."""
    text = " ".join(str(message).split())
    if text != _last_warning[0]:
        _last_warning[0] = text
        complain("warning", text, style="bold yellow")


def print_licence(licence: str) -> None:
    """Prints the licence of imported weights, if known, at every use."""
    if licence:
        typer.echo(f"licence     {plain(licence)}")


def forget_last_warning() -> None:
    """Forgets warnings shown by an earlier command of this process."""
    _last_warning[0] = ""


def escape(text: str) -> str:
    """Escapes markup and control characters, which in a file name could control the terminal."""
    from rich.markup import escape

    return escape(plain(text))


def plain(text: str) -> str:
    """Replaces control characters, except line breaks and tabs, by their escape sequences."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


@contextmanager
def progress_bars() -> Iterator[None]:
    """Context manager: shows progress bars on a terminal's stderr for longer work reported by `progress.tell`."""
    from rich import progress as bars

    from steadygan.progress import listening

    console, began = make_console(stderr=True), time.monotonic()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
    with bars.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        tasks: dict[str, bars.TaskID] = {}

        def hear(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total, visible=False)
            visible = done < total and time.monotonic() - began > PATIENCE_SECONDS
            shown.update(tasks[what], completed=done, total=total, visible=visible)

        with listening(hear):
            yield


@contextmanager
def images_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's stderr; stdout is for output."""
    from rich import progress as bars

    console = make_console(stderr=True)
    columns = (bars.TextColumn(what), bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
