"""The command line, the only package that prints. Commands import torch only if they need it."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from steadygan._version import __version__
from steadygan.cli.compare import compare
from steadygan.cli.control import branch, pause, resume, stop
from steadygan.cli.curve import curve
from steadygan.cli.data import data_app
from steadygan.cli.diagnose import diagnose
from steadygan.cli.doctor import doctor
from steadygan.cli.exporting import export
from steadygan.cli.importing import import_weights
from steadygan.cli.interpolation import interpolate
from steadygan.cli.neighbours import neighbours
from steadygan.cli.planning import plan
from steadygan.cli.presets import presets
from steadygan.cli.remaking import remake
from steadygan.cli.report import report
from steadygan.cli.sampling import sample
from steadygan.cli.scores import evaluate
from steadygan.cli.settings import settings
from steadygan.cli.studio import studio
from steadygan.cli.sweeping import sweep
from steadygan.cli.terminal import complain, forget_last_warning, show_warning
from steadygan.cli.training import train
from steadygan.cli.translation import translate
from steadygan.cli.usage import explained
from steadygan.errors import LostProcess, SaidElsewhere, UserError, program

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
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help pages would take half a second longer
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"steadygan {__version__}")
        raise typer.Exit


for command in (
    *(train, plan, sweep, sample, remake, translate, interpolate),
    *(evaluate, diagnose, compare, curve, neighbours, report),
    *(stop, pause, resume, branch),
    *(studio, presets, settings, doctor),
):
    app.command()(command)
app.command("import")(import_weights)
app.command()(export)


@app.callback()
def first_steps(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """GAN training with consistency regularisation: from a folder of images to a trained, scored generator."""
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS.replace("steadygan", program()))


app.add_typer(data_app, name="data")


def main() -> NoReturn:
    """Runs the command line. A `UserError` becomes a message with exit status 2, a Python warning one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × shows ? instead of an error
    try:
        _refuse_empty(sys.argv[1:])
        with warnings.catch_warnings(), _ended_in_order():
            warnings.showwarning = show_warning
            forget_last_warning()
            status = _called()
    except SaidElsewhere:
        sys.exit(2)
    except UserError as error:
        complain("error", str(error), style="bold red")
        if isinstance(error, LostProcess):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)  # clean-up may wait for the device, which waits for the lost process
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status)


def _called() -> int:
    """Calls the command and returns its exit status. Raises UserError for invalid arguments."""
    try:
        status = app(prog_name=_own_name(), standalone_mode=False)
    except typer.Abort:
        return 1
    except Exception as error:
        if (mistake := explained(error)) is not None:
            raise mistake from None
        if not hasattr(error, "exit_code"):
            raise
        error.show()  # type: ignore[attr-defined]  # a group's help, where no command was named
        return int(error.exit_code)
    return status if isinstance(status, int) else 0


def _own_name() -> str:
    """The program's name in usage lines; shells complete only the bare name."""
    completing = "_STEADYGAN_COMPLETE" in os.environ or {"--install-completion", "--show-completion"} & set(sys.argv)
    return "steadygan" if completing else program()


def _refuse_empty(arguments: list[str]) -> None:
    """Refuses empty arguments, usually unset variables, which would mean the current directory."""
    for place, argument in enumerate(arguments):
        if not argument or re.fullmatch("--[a-z-]+=", argument):
            what = argument or '""'
            raise UserError(
                f"{what}, after {' '.join([program(), *arguments[:place]])}, is empty: is it a variable that is not "
                "set? (the current directory is written as a point)"
            )


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Context manager: SIGTERM and SIGHUP end the command like an error, so that partial files are removed."""
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
