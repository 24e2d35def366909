"""Tar files: one or several shards, plain or compressed, including WebDataset's."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from steadygan.data.containers.base import HEAD_BYTES, Container, check_entry, check_size, digest_of_files, plain_name
from steadygan.errors import UserError
from steadygan.files import cache_root

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
MAX_RATIO, UNBOUNDED_BYTES = 100, 1 << 30
"""A compressed tar may unpack to UNBOUNDED_BYTES, or to MAX_RATIO times its size if that is more."""
MAX_HEADER_BYTES = 1 << 20
"""Maximum size of a long name or extended header: tarfile reads it into memory whole."""
DAMAGE = (tarfile.TarError, RecursionError, OSError, EOFError, ValueError, OverflowError, lzma.LZMAError, zlib.error)


class _Place(NamedTuple):
    shard: int
    offset: int
    size: int


class _Member(tarfile.TarInfo):
    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        extended = (*tarfile.GNU_TYPES, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if self.type in extended and self.type != tarfile.GNUTYPE_SPARSE and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


class Tar(Container):
    """Members are read in place, never extracted; all shards together form one folder.

    Compressed shards are unpacked once, into one unnamed file below the cache folder that is deleted with the process.
    Raises UserError for a damaged or hostile archive, and for a name that occurs in two shards.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self.shards = tuple(shards)
        self._unpacked: IO[bytes] | None = None
        self._packed: set[int] = set()
        self._places: dict[str, _Place] = {}
        for number, shard in enumerate(self.shards):
            try:
                with shard.open("rb") as file:
                    opener = next((o for magic, o in OPENERS.items() if file.peek(6).startswith(magic)), None)
                    if opener is None:
                        self._index(number, file)
                    else:
                        self._unpacked = self._unpacked or self._nameless_file(shard)
                        self._packed.add(number)
                        _unpack(shard, opener, self._unpacked)
                        self._index(number, self._unpacked)
            except DAMAGE as error:
                raise UserError(f"{shard} is not a valid tar ({error}): pack it again") from None

    def _index(self, number: int, file: IO[bytes]) -> None:
        shard, end = self.shards[number], -1
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as archive:
            while (member := archive.next()) is not None:
                # tarfile accepts a negative size, which would cause an endless loop.
                if member.size < 0 or member.offset <= end:
                    raise tarfile.ReadError("its entries overlap")
                end = member.offset
                archive.members.clear()  # type: ignore[attr-defined]  # of a million entries they are a gigabyte
                check_entry(
                    member.name,
                    shard,
                    link=member.issym() or member.islnk(),
                    special=member.issparse() or not (member.isreg() or member.isdir()),
                )
                name = plain_name(member.name)
                if member.isdir():
                    continue
                if member.name != name and name in self._places and "\\" in member.name:
                    raise UserError(f"{shard} holds {name} twice, once as {member.name}: pack it again")
                if (other := self._places.get(name)) is not None and other.shard != number:
                    raise UserError(
                        f"both {self.shards[other.shard]} and {shard} hold {name}: give one of them, or pack them "
                        "again with a name for each image"
                    )
                self._places[name] = _Place(number, member.offset_data, member.size)
            # tarfile treats a damaged header as the end and would silently drop the rest.
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):
                raise tarfile.ReadError(f"damaged at byte {archive.offset}")

    def _nameless_file(self, shard: Path) -> IO[bytes]:
        root = cache_root()
        try:
            root.mkdir(parents=True, exist_ok=True)
            file: IO[bytes] = tempfile.TemporaryFile(dir=root)  # noqa: SIM115 - it lives as long as this object
        except OSError as error:
            raise UserError(
                f"{shard} cannot be unpacked in {root} ({error.strerror}): set STEADYGAN_CACHE to another folder"
            ) from None
        weakref.finalize(self, file.close)
        return file

    def names(self) -> Iterator[str]:
        return iter(self._places)

    def head(self, name: str) -> bytes:
        return self._part(name, HEAD_BYTES)

    def read(self, name: str) -> bytes:
        check_size(self._places[name].size)
        return self._part(name, self._places[name].size)

    def _part(self, name: str, most: int) -> bytes:
        shard, offset, size = self._places[name]
        if self._unpacked is not None and shard in self._packed:
            return os.pread(self._unpacked.fileno(), min(size, most), offset)
        with self.shards[shard].open("rb") as file:
            file.seek(offset)
            return file.read(min(size, most))

    def digest(self, names: Sequence[str]) -> str:
        return digest_of_files(self.shards)


def _unpack(path: Path, opener: Callable[[Path], Any], file: IO[bytes]) -> None:
    """Appends the tar inside a compressed file to `file` and seeks to its start there.

    Raises DAMAGE, and UserError if it is too large.
    """
    start, room = file.seek(0, os.SEEK_END), shutil.disk_usage(cache_root()).free
    limit = min(max(UNBOUNDED_BYTES, MAX_RATIO * path.stat().st_size), room)
    with opener(path) as packed:
        while chunk := packed.read(1 << 20):
            if file.tell() - start + len(chunk) > limit:
                raise UserError(
                    f"{path} unpacks to over {limit / 2**30:.1f} GiB: unpack it yourself if you trust it, or "
                    "set STEADYGAN_CACHE to a folder with room"
                )
            file.write(chunk)
    file.seek(start)
