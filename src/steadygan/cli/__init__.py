"""The command line: the only place that talks to the terminal. torch is imported inside the commands that need it."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer

from steadygan.cli.compare import compare
from steadygan.cli.control import branch, pause, resume, stop
from steadygan.cli.curve import curve
from steadygan.cli.data import data_app
from steadygan.cli.diagnose import diagnose
from steadygan.cli.doctor import doctor
from steadygan.cli.importing import import_weights
from steadygan.cli.interpolation import interpolate
from steadygan.cli.neighbours import neighbours
from steadygan.cli.planning import plan
from steadygan.cli.presets import presets
from steadygan.cli.remaking import remake
from steadygan.cli.sampling import sample
from steadygan.cli.scores import evaluate
from steadygan.cli.settings import settings
from steadygan.cli.studio import studio
from steadygan.cli.terminal import complain, show_warning
from steadygan.cli.training import train
from steadygan.cli.translation import translate
from steadygan.errors import LostProcess, SaidElsewhere, UserError

FIRST_STEPS = """\
steadygan train digits           train on the embedded digits, a few minutes on a CPU
steadygan train photos/          train on your own images: every setting is chosen for you
steadygan presets                list published experiments; `steadygan train NAME` runs one
steadygan settings WORD          find a setting; `steadygan train … key=value` sets it
steadygan studio runs/           watch runs and play with generators in the browser
steadygan --help                 list every command"""

app = typer.Typer(
    name="steadygan",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help pages would cost half a second before the first word
)
for command in (
    *(train, plan, sample, remake, translate, interpolate),
    *(evaluate, diagnose, compare, curve, neighbours),
    *(stop, pause, resume, branch),
    *(studio, presets, settings, doctor),
):
    app.command()(command)
app.command("import")(import_weights)


@app.callback()
def first_steps(context: typer.Context) -> None:
    """GAN training with consistency regularisation: from a folder of images to a trained, scored generator."""
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS)


app.add_typer(data_app, name="data")


def main() -> NoReturn:
    """Runs the command line; a `UserError` becomes a message and exit status 2, a Python warning one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ?, and training continues
    try:
        with warnings.catch_warnings(), _ended_in_order():
            warnings.showwarning = show_warning
            app()
    except SaidElsewhere:
        sys.exit(2)
    except UserError as error:
        complain("error", str(error), style="bold red")
        if isinstance(error, LostProcess):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)  # cleaning up may wait for a device, and that for the lost process
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP end the command like an error: half-written files are removed first."""
    previous: dict[int, Any] = {}

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            previous[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
