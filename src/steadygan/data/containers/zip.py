"""A zip."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from steadygan.data.containers.base import MAX_MEMBER_BYTES


class Zip:
    """Members are read as bytes, never extracted; each thread has its own handle and file position."""

    def __init__(self, path: Path) -> None:
        self.path, self._local = path, threading.local()
        self._handle()

    def _handle(self) -> zipfile.ZipFile:
        if not hasattr(self._local, "handle"):
            self._local.handle = zipfile.ZipFile(self.path)
        handle: zipfile.ZipFile = self._local.handle
        return handle

    def names(self) -> Iterator[str]:
        return (member.filename for member in self._handle().infolist() if not member.is_dir())

    def read(self, name: str) -> bytes:
        if self._handle().getinfo(name).file_size > MAX_MEMBER_BYTES:
            raise ValueError(f"over {MAX_MEMBER_BYTES >> 20} MiB when unpacked")
        return self._handle().read(name)
