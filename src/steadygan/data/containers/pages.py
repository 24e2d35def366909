"""Checks how much memory the pages of a parquet file take, from their headers, before they are decompressed.

A footer may claim any size and pyarrow trusts it; each page's header has the size that is allocated. Both are written
in Thrift's compact protocol (github.com/apache/parquet-format, `parquet.thrift`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAGIC, TAIL_BYTES = b"PAR1", 8
LARGEST_FOOTER, LARGEST_HEADER = 256 << 20, 16 << 20
HEADER_BYTES = 1 << 16
"""Bytes first read for a page's header."""
UNBOUNDED_BYTES, MAX_RATIO, MAX_CHUNK_BYTES = 256 << 20, 20, 4 << 30
"""The pages of one column in one row group may take UNBOUNDED_BYTES, or MAX_RATIO times their size on disk."""
DEEPEST = 16

Struct = dict[int, Any]


class Damaged(ValueError):
    """The bytes are not valid parquet."""


@dataclass(frozen=True)
class Chunk:
    """The pages of one column in one row group: start and size in the file, in bytes."""

    column: tuple[str, ...]
    start: int
    size: int


class Footer:
    """The places of a file's pages, by row group. Raises Damaged, or OSError if the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read(TAIL_BYTES)
            length = struct.unpack("<I", tail[:4])[0] if len(tail) == TAIL_BYTES else 0
            self.end = size - TAIL_BYTES - length
            if tail[4:] != MAGIC or not 0 < length <= LARGEST_FOOTER or self.end < len(MAGIC):
                raise Damaged("it has no footer")
            file.seek(self.end)
            try:
                footer = _Thrift(file.read(length)).structure()
            except EOFError:
                raise Damaged("its footer ends early") from None
        self.groups = [[self._chunk(column) for column in _list(group.get(1))] for group in _list(footer.get(4))]

    def _chunk(self, column: Struct) -> Chunk:
        facts = column.get(3)
        if not isinstance(facts, dict):
            raise Damaged("a column without its place")
        start, size, dictionary = facts.get(9), facts.get(7), facts.get(11) or 0
        path = facts.get(3)
        if type(start) is not int or type(size) is not int or type(dictionary) is not int or not isinstance(path, list):
            raise Damaged("a column without its place")
        if 0 < dictionary < start:
            start = dictionary
        if start < len(MAGIC) or size < 0 or start + size > self.end:
            raise Damaged("pages outside of the file")
        return Chunk(tuple(bytes(part).decode(errors="replace") for part in path), start, size)

    def check(self, group: int, column: str) -> None:
        """Checks that a column (with nested columns) of a row group does not take more memory than images need.

        Raises:
            ValueError: it takes more, or the headers of its pages are damaged.
        """
        with self.path.open("rb") as file:
            for chunk in self.groups[group]:
                if chunk.column[:1] == (column,):
                    self._check_chunk(file, chunk)

    def _check_chunk(self, file: IO[bytes], chunk: Chunk) -> None:
        position, end, unpacked = chunk.start, chunk.start + chunk.size, 0
        most = min(max(UNBOUNDED_BYTES, MAX_RATIO * chunk.size), MAX_CHUNK_BYTES)
        while position < end:
            header, length = _page_header(file, position, end)
            size, packed = header.get(2), header.get(3)
            if type(size) is not int or type(packed) is not int or size < 0 or packed < 0:
                raise Damaged(f"a page without its size at byte {position}")
            unpacked += size
            if unpacked > most:
                raise ValueError(
                    f"{'.'.join(chunk.column)} takes over {most >> 20} MiB when unpacked, of {chunk.size:,} bytes"
                )
            position += length + packed


def _page_header(file: IO[bytes], position: int, end: int) -> tuple[Struct, int]:
    """The header of the page at a position, and the header's length."""
    wanted = HEADER_BYTES
    while True:
        file.seek(position)
        reader = _Thrift(file.read(min(wanted, end - position)))
        try:
            return reader.structure(), reader.position
        except EOFError:
            if wanted >= min(LARGEST_HEADER, end - position):
                raise Damaged(f"a page's header at byte {position} does not end") from None
            wanted *= 16


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise Damaged("a list of another type")
    return value


class _Thrift:
    """Reads values of the compact protocol, structures as {field: value}. Raises EOFError or Damaged."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def _byte(self) -> int:
        if self.position >= len(self.data):
            raise EOFError
        self.position += 1
        return self.data[self.position - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise Damaged("a number without end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, count: int) -> bytes:
        if self.position + count > len(self.data):
            raise EOFError
        self.position += count
        return self.data[self.position - count : self.position]

    def structure(self, depth: int = 0) -> Struct:
        if depth > DEEPEST:
            raise Damaged("nested too deep")
        fields, field = Struct(), 0
        while (head := self._byte()) != 0:
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            fields[field] = self._value(head & 15, depth, in_field=True)
        return fields

    def _value(self, kind: int, depth: int, *, in_field: bool = False) -> Any:
        if kind in (1, 2):
            return kind == 1 if in_field else self._byte() == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 != 15 else self._varint()
            return self._many(count, lambda: self._value(head & 15, depth + 1))
        if kind == 11:
            return self._map(depth)
        if kind == 12:
            return self.structure(depth + 1)
        raise Damaged(f"a value of unknown kind {kind}")

    def _many(self, count: int, one: Any) -> list[Any]:
        if count > len(self.data) - self.position:  # each takes at least one byte
            raise EOFError
        return [one() for _ in range(count)]

    def _map(self, depth: int) -> list[Any]:
        count = self._varint()
        if not count:
            return []
        kinds = self._byte()
        return self._many(count, lambda: (self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)))
