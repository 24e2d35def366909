"""A folder of files, and the folders below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from steadygan.data.containers.base import Container, check_size
from steadygan.errors import UserError


class Folder(Container):
    """Links are followed, as everything here is the user's own, but not in circles."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        return iter(self._names)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(self._walk())

    def _walk(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root, onerror=self._refuse, followlinks=True):
            real = Path(folder).resolve()
            # A link to one of its own ancestors would be walked for ever.
            folders[:] = [name for name in folders if not real.is_relative_to(Path(folder, name).resolve())]
            yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise UserError(f"cannot list the folder {error.filename}: {error.strerror}")

    def read(self, name: str) -> bytes:
        path = self.root / name
        status = path.stat()
        # Opening a pipe would wait for ever, a device might never end.
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        check_size(status.st_size)
        return path.read_bytes()
