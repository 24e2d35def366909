"""The process that generates images: `python -m steadygan.studio.worker DEVICE GIB`, started by `painter`.

It reads requests from stdin and writes answers to the original stdout; all other output goes to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from steadygan.errors import UserError
from steadygan.studio.painter import receive, send

NICE = 5
"""Niceness: below that of a training on the same machine, but without making pages wait."""
Answer = tuple[dict[str, Any], bytes]


def bound_memory(gib: float) -> None:
    """Limits the memory of this process, if the system supports it, so that too large a network fails alone."""
    try:
        import resource

        size = int(gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    except (ImportError, AttributeError, OSError, ValueError):
        sys.stderr.write("warning: this system does not limit the memory of a process\n")


def main(device: str, gib: float) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if device == "cpu":
        bound_memory(gib)
    operations: dict[str, Callable[..., Answer]] = {}
    while True:
        try:
            question = receive(sys.stdin.buffer)
        except (EOFError, ValueError):
            return
        try:
            if not operations:
                from steadygan.studio.operations import operations_on

                operations = operations_on(device)
                os.nice(NICE)
            do = str(question.pop("do"))
            answer, data = operations[do](**question)
        except UserError as error:
            answer, data = {"error": str(error)}, b""
        except (MemoryError, RuntimeError) as error:
            short = str(error).strip().splitlines()[0] if str(error).strip() else "out of memory"
            answer, data = {"error": f"not made: {short}"[:300], "fatal": True}, b""
        except Exception as error:
            # A damaged checkpoint may raise any exception; report it to the page and continue.
            answer, data = {"error": f"not made: {type(error).__name__}: {error}"[:300]}, b""
        try:
            send(answers, answer, data)
        except BrokenPipeError:
            return  # the studio has ended


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
