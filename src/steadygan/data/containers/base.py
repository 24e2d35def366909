"""What every place that images are kept in can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

MAX_MEMBER_BYTES = 1 << 30


class Container(Protocol):
    """Files by name, read as bytes from any number of threads at once; nothing is ever extracted."""

    def names(self) -> Iterator[str]:
        """Every file, in no particular order; `/` divides folders."""

    def read(self, name: str) -> bytes:
        """One file's content."""
