"""Progress reports of long work, sent to a listener set by a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]
"""Called with (activity, done, total)."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Context manager: `listener` receives all progress reports of this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(what: str, done: int, total: int) -> None:
    """Reports the progress of `what`; does nothing without a listener."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total)
