"""One of several files that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One file: its path and its content (see `values`)."""

    path: Path
    value: Any
