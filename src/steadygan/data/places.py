"""Where steadygan keeps what it can make or fetch again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The folder of what can be made again (decoded images below `images`): STEADYGAN_CACHE, or ~/.cache/steadygan."""
    return Path(os.environ.get("STEADYGAN_CACHE") or "~/.cache/steadygan").expanduser()


def data_root(root: str | None = None) -> Path:
    """The folder of downloaded data sets: `root` (data.root), else STEADYGAN_DATA, else ~/.cache/steadygan/data."""
    return Path(root or os.environ.get("STEADYGAN_DATA") or "~/.cache/steadygan/data").expanduser()
