"""A zip."""

from __future__ import annotations

import stat
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from steadygan.data.containers.base import Container, check_entry, check_size, digest_of_files


class Zip(Container):
    """Members are read as bytes, never extracted. Raises what `zipfile` does if it is none, UserError if hostile."""

    def __init__(self, path: Path) -> None:
        self.path, self._archive, self._lock = path, zipfile.ZipFile(path), threading.Lock()
        for member in self._archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
            check_entry(member.filename, path, link=kind == stat.S_IFLNK, special=special)

    def names(self) -> Iterator[str]:
        return (member.filename for member in self._archive.infolist() if not member.is_dir())

    def read(self, name: str) -> bytes:
        check_size(self._archive.getinfo(name).file_size)
        # One directory for all threads, which only take turns to read: of a million files it is a gigabyte.
        with self._lock:
            member = self._archive.open(name)
        try:
            return member.read()
        finally:
            with self._lock:
                member.close()

    def digest(self, names: Sequence[str]) -> str:
        return digest_of_files([self.path])
