"""The folder of downloaded data sets."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(root: str | None = None) -> Path:
    """The folder of downloaded data sets: `root` (data.root), else STEADYGAN_DATA, else ~/.cache/steadygan/data."""
    return Path(root or os.environ.get("STEADYGAN_DATA") or "~/.cache/steadygan/data").expanduser()
