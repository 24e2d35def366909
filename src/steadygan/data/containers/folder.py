"""A folder of files, and the folders below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from steadygan.errors import UserError


class Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root, onerror=self._refuse, followlinks=True):
            real = Path(folder).resolve()
            # A link to one of its own ancestors would be walked for ever.
            folders[:] = [name for name in folders if not real.is_relative_to(Path(folder, name).resolve())]
            yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise UserError(f"cannot list the folder {error.filename}: {error.strerror}")

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()
