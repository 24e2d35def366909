"""Zip files."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from steadygan.data.containers.base import (
    HEAD_BYTES,
    MAX_MEMBER_BYTES,
    Container,
    check_entry,
    check_size,
    digest_of_files,
    plain_name,
    read_bounded,
)
from steadygan.errors import UserError

LOCAL_HEADER = 30
"""Size of a local file header in a zip; its last four bytes are the lengths of the name and of the extra field."""

UTF8_FLAG = 0x800


class Zip(Container):
    """Members are read as bytes, never extracted. Raises `zipfile` errors if it is not a zip, UserError if it is
    hostile."""

    def __init__(self, path: Path) -> None:
        self.path, self._archive, self._lock = path, zipfile.ZipFile(path), threading.Lock()
        self._written: dict[str, str] = {}
        """Stored names, only for files whose normalised name differs: a million entries would take a gigabyte."""
        for member in self._archive.infolist():
            _spell(member, self._archive)
            kind = stat.S_IFMT(member.external_attr >> 16)
            special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
            check_entry(member.filename, path, link=kind == stat.S_IFLNK, special=special)
            plain = plain_name(member.filename)
            if plain != member.filename and not _is_folder(member):
                if plain in self._written or plain in self._archive.NameToInfo:
                    raise UserError(f"{path} holds {plain} twice, once as {member.filename}: pack it again")
                self._written[plain] = member.filename

    def names(self) -> Iterator[str]:
        return (plain_name(member.filename) for member in self._archive.infolist() if not _is_folder(member))

    def head(self, name: str) -> bytes:
        written = self._written.get(name, name)
        if self._archive.getinfo(written).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return self.read(name)
        with self._lock, self._archive.open(written) as member:
            return member.read(HEAD_BYTES)

    def read(self, name: str) -> bytes:
        written = self._written.get(name, name)
        entry = self._archive.getinfo(written)
        check_size(entry.file_size)
        check_size(entry.compress_size)
        if entry.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            return self._unpack(entry)
        # All threads share one directory and take turns to read: for a million files it takes a gigabyte.
        with self._lock:
            member = self._archive.open(written)
        try:
            # The directory may understate the size: bound the unpacked bytes.
            return read_bounded(member)
        finally:
            with self._lock:
                member.close()

    def _unpack(self, entry: zipfile.ZipInfo) -> bytes:
        """Unpacks a bzip2 or LZMA member with a bound; `zipfile` can unpack one chunk into gigabytes."""
        if entry.flag_bits & 1:
            raise ValueError("it is encrypted")
        with self.path.open("rb") as file:
            file.seek(entry.header_offset)
            header = file.read(LOCAL_HEADER)
            file.seek(sum(struct.unpack("<HH", header[-4:])), os.SEEK_CUR)
            packed = file.read(entry.compress_size)
        decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor
        if entry.compress_type == zipfile.ZIP_BZIP2:
            decompressor = bz2.BZ2Decompressor()
        else:
            (length,) = struct.unpack("<H", packed[2:4])
            # A .lzma header: properties and dictionary size as in the zip, then an unknown size.
            packed = packed[4 : 4 + length] + b"\xff" * 8 + packed[4 + length :]
            decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_MEMBER_BYTES)
        data = decompressor.decompress(packed, entry.file_size + 1)
        if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
            raise zipfile.BadZipFile(f"{entry.filename} is not what the zip says it is")
        return data

    def digest(self, names: Sequence[str]) -> str:
        return digest_of_files([self.path])


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(("/", "\\"))


def _spell(member: zipfile.ZipInfo, archive: zipfile.ZipFile) -> None:
    """Decodes a name as UTF-8 if it is valid, even without the zip's UTF-8 flag, which Finder and many Linux tools
    omit."""
    if member.flag_bits & UTF8_FLAG or member.filename.isascii():
        return
    with suppress(UnicodeError):
        spelled = member.filename.encode("cp437").decode()
        archive.NameToInfo.pop(member.filename, None)
        archive.NameToInfo[spelled], member.filename = member, spelled
