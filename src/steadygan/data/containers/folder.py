"""A folder of files, and the folders below it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from steadygan.data.containers.base import Container, check_size, plain_name, read_bounded
from steadygan.errors import UserError


class Folder(Container):
    """Links are followed, as everything here is the user's own, but not in circles."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        return iter(self._places)

    @cached_property
    def _places(self) -> dict[str, str]:
        """The files' paths by their plain names, which unpacked archives of Windows tools make others."""
        places: dict[str, str] = {}
        for path in self._walk():
            if (other := places.setdefault(plain_name(path), path)) != path:
                raise UserError(f"{self.root} holds {plain_name(path)} twice, as {other} and as {path}: remove one")
        return places

    def _walk(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root, onerror=self._refuse, followlinks=True):
            real = Path(folder).resolve()
            # A link to one of its own ancestors would be an endless loop.
            folders[:] = [name for name in folders if not real.is_relative_to(Path(folder, name).resolve())]
            yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise UserError(f"cannot list the folder {error.filename}: {error.strerror}")

    def read(self, name: str) -> bytes:
        path = self.root / self._places.get(name, name)
        status = path.stat()
        # Opening a pipe would block, reading a device might never end.
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        check_size(status.st_size)
        with path.open("rb") as file:
            return read_bounded(file)
