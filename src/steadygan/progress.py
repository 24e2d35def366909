"""How far a long piece of work is: told by who does it, heard by who asked for it, without passing through between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and how much there is to do."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A context in which, in this thread, `listener` receives all reports of progress."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int) -> None:
    """Says how far `what` is; nothing happens where nobody listens."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total)
