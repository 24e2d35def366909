"""How much the pages of a parquet column unpack to, from their own headers.

The footer of a file may claim anything; what is unpacked is what each page's header says (parquet.thrift, PageHeader,
in Thrift's compact protocol), so that is what a bound must be put on.
"""

from __future__ import annotations

from typing import IO

HEADER_BYTES, MAX_DEPTH = 1 << 20, 8
UNPACKED, PACKED = 2, 3
"""PageHeader's fields uncompressed_page_size and compressed_page_size."""


def unpacked_bytes(file: IO[bytes], start: int, length: int) -> int:
    """What the pages in `length` bytes from `start` on unpack to, all together.

    Raises:
        ValueError: a header is damaged.
    """
    place, end, total = start, start + length, 0
    while place < end:
        file.seek(place)
        header = _Compact(file.read(min(HEADER_BYTES, end - place)))
        sizes = header.integers()
        if sizes.get(UNPACKED, -1) < 0 or sizes.get(PACKED, -1) < 0:
            raise ValueError("a page without its size")
        total += sizes[UNPACKED]
        place += header.place + sizes[PACKED]
    return total


class _Compact:
    """Bytes of Thrift's compact protocol; `place` is how many were read."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def integers(self, depth: int = 0) -> dict[int, int]:
        """The integer fields of a structure by their numbers; all others are passed over."""
        found: dict[int, int] = {}
        field = 0
        while (mark := self._byte()) != 0:
            field = field + (mark >> 4) if mark >> 4 else self._signed()
            if (value := self._value(mark & 15, depth)) is not None:
                found[field] = value
        return found

    def _value(self, kind: int, depth: int) -> int | None:
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        match kind:
            case 1 | 2:  # true or false, which are kinds of their own
                return None
            case 3:
                self._skip(1)
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._number())
            case 9 | 10:
                mark = self._byte()
                count = mark >> 4 if mark >> 4 < 15 else self._number()
                for _ in range(count):
                    if mark & 15 in (1, 2):  # in lists they take a byte each
                        self._skip(1)
                    else:
                        self._value(mark & 15, depth + 1)
            case 12:
                self.integers(depth + 1)
            case _:
                raise ValueError(f"kind {kind} in a page's header")
        return None

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise ValueError("a number of over 64 bits")

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.data):
            raise ValueError("a header that does not end")

    def _byte(self) -> int:
        self._skip(1)
        return self.data[self.place - 1]
