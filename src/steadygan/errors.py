"""The exception for users, and helpers for its messages."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path


class UserError(Exception):
    """A problem that the user can fix; the message says what and how. The CLI prints it and exits with status 2."""


class Collapsed(UserError):
    """Training collapsed with `train.collapse=stop`."""


class LostProcess(UserError):
    """Another process of a distributed training ended or does not respond."""


class SaidElsewhere(UserError):
    """An error that another process, rank `speaker`, reports to the user."""

    def __init__(self, message: str, speaker: int) -> None:
        super().__init__(message)
        self.speaker = speaker


def require(package: str, extra: str, purpose: str) -> None:
    """Raises `UserError` if an optional package is not installed.

    Args:
        package: its name on the index, e.g. `matplotlib`.
        extra: the extra of steadygan that contains it.
        purpose: what needs it, as the subject of a sentence: "drawing curves".
    """
    if find_spec(package.replace("-", "_")) is None:
        raise UserError(f"{purpose} needs {package}: `pip install {package}` (steadygan's extra {extra!r})")


IN_WORDS = (
    (r"^Value error, ", ""),
    (r"^Input should be greater than or equal to ", "must be at least "),
    (r"^Input should be greater than ", "must be above "),
    (r"^Input should be less than or equal to ", "must be at most "),
    (r"^Input should be less than ", "must be below "),
    (r"^Unable to parse input string as an integer, exceeded maximum size", f"must be below {1 << 63}"),
    (r"^Input should be a valid integer.*", "must be a whole number"),
    (r"^Input should be a valid number.*", "must be a number"),
    (r"^Input should be a valid boolean.*", "must be true or false"),
    (r"^Input should be a valid string.*", "must be text"),
    (r"^Input should be ", "must be "),
    (r"^Field required$", "is missing"),
    (r"^\w+ should have at least (\d+) items?.*", r"must have at least \1 entries"),
)


def in_words(message: str) -> str:
    """Rewords pydantic's message on a wrong value as the end of a sentence: `must be above 0`."""
    for pattern, words in IN_WORDS:
        message = re.sub(pattern, words, message)
    return message


LISTED = 24
"""Maximum number of known words that a message lists in full."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word closest to `name`, or a list of them."""
    known = sorted(known)
    folded = {word.casefold(): word for word in reversed(known)}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    more = f", … ({len(known)} in all)" if len(known) > LISTED else ""
    return f"known: {', '.join(known[:LISTED])}{more}"


def one_of(name: str, known: Sequence[str]) -> str:
    """The end of an error message: the allowed words, and the most similar."""
    hint = nearest(name, known)
    return f"must be {' or '.join(known)}" + (f"; {hint}" if hint.startswith("did you mean") else "")


def no_run(path: str | Path) -> str:
    """The message for a path that is not a run directory; names the run that was probably meant."""
    around = [folder for folder in Path(path).parents[:2] if (folder / "config.yaml").is_file()]
    below = sorted(file.parent for file in Path(path).glob("*/config.yaml"))
    named = Path("runs") / path
    if around:
        meant = f"it is part of the run {around[0]}, give that"
    elif below:
        meant = f"give one of the runs in it, such as {below[0]}"
    elif (named / "config.yaml").is_file():
        meant = f"did you mean {named}?"
    else:
        meant = "give the directory of a run, such as runs/NAME"
    return f"{path} is not a run directory, as it has no config.yaml; {meant}"


def command_line(*arguments: object) -> str:
    """A steadygan command that can be copied into the user's terminal.

    Under `uv run` or `python -m steadygan`, a bare `steadygan` may not exist.

    Args:
        arguments: the command's arguments, which are quoted for the shell if necessary.
    """
    return " ".join([program(), *(shlex.quote(str(argument)) for argument in arguments)])


def program() -> str:
    """How steadygan was called: `steadygan`, `uv run steadygan` or `python -m steadygan`."""
    if "UV_RUN_RECURSION_DEPTH" in os.environ:
        return "uv run steadygan"
    if Path(sys.argv[0]).parts[-2:] != ("steadygan", "__main__.py"):
        return "steadygan"
    found = shutil.which("python")
    ours = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    return f"{'python' if ours else shlex.quote(sys.executable)} -m steadygan"
