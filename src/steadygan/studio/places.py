"""Folders of images from which runs may be started: those given to the studio, and their direct subfolders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

EMBEDDED = "digits"
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
ARCHIVES = {".zip", ".tar", ".parquet"}
MOST = 500


class Places:
    """Data by id; always includes the embedded digits."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self.roots = tuple(root.resolve() for root in roots)

    def table(self) -> dict[str, tuple[str, str]]:
        """(name, `data.path`) by id."""
        found = {EMBEDDED: ("digits (embedded)", EMBEDDED)}
        for root in self.roots:
            for path, name in [(root, root.name), *_below(root)]:
                if len(found) < MOST:
                    found[hashlib.sha256(os.fsencode(path)).hexdigest()[:12]] = name, str(path)
        return found

    def listed(self) -> list[dict[str, Any]]:
        return [{"id": id, "name": name} for id, (name, _) in self.table().items()]


def _below(root: Path) -> list[tuple[Path, str]]:
    found = []
    try:
        with os.scandir(root) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.is_symlink():
                    continue
                if entry.is_dir() or Path(entry.name).suffix.lower() in ARCHIVES:
                    found.append((Path(entry.path), f"{root.name}/{entry.name}"))
    except OSError:
        return []
    return found
