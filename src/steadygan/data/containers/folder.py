"""Folders of files, with their subfolders."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from steadygan.data.containers.base import HEAD_BYTES, Container, check_size, plain_name, read_bounded
from steadygan.errors import UserError

NAMED = 5


class Folder(Container):
    """A folder. Links are followed, as the folder is the user's own, but each target folder is read once.

    Links to a folder that is read anyway are skipped with a warning: its images would appear twice, or links would form
    an endless cycle.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        return iter(self._places)

    @cached_property
    def _places(self) -> dict[str, str]:
        """The files' paths by their normalised names, which differ for archives of Windows tools."""
        places: dict[str, str] = {}
        for path in self._walk():
            if (other := places.setdefault(plain_name(path), path)) != path:
                raise UserError(f"{self.root} holds {plain_name(path)} twice, as {other} and as {path}: remove one")
        return places

    def _walk(self) -> Iterator[str]:
        seen: set[Path] = set()
        tops, left_out = [self.root], list[Path]()
        while tops:
            top, links = tops.pop(0), list[Path]()
            real = top.resolve()
            if real in seen or (seen and self.root.resolve().is_relative_to(real)):
                left_out.append(top)
                continue
            for folder, folders, files in os.walk(top, onerror=self._refuse):
                seen.add(Path(folder).resolve())
                links += [path for name in folders if (path := Path(folder, name)).is_symlink()]
                folders[:] = [name for name in folders if Path(folder, name).resolve() not in seen]
                yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)
            # Links come last, so that folders below the root are found there first.
            tops += sorted(links)
        if left_out:
            named = ", ".join(link.relative_to(self.root).as_posix() for link in left_out[:NAMED])
            warnings.warn(
                f"{self.root}: {len(left_out)} links to folders are skipped, as their targets are read already: "
                + (f"{named}, …" if len(left_out) > NAMED else named),
                stacklevel=2,
            )

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise UserError(f"cannot list the folder {error.filename}: {error.strerror}")

    def head(self, name: str) -> bytes:
        path = self.root / self._places.get(name, name)
        if not path.is_file():  # opening a pipe blocks
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)

    def read(self, name: str) -> bytes:
        path = self.root / self._places.get(name, name)
        status = path.stat()
        # Opening a pipe blocks, and reading a device may never end.
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        check_size(status.st_size)
        with path.open("rb") as file:
            return read_bounded(file)
