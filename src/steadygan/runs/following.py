"""Reading a file of records while its run still writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

CHUNK = 4 << 20
"""Bytes read at a time: what one turn holds in memory, however long the file is."""


class Follower:
    """Follows a `.jsonl` file from where it last stopped; one object a line, each with a whole number as its `step`.

    A line is taken once its newline is there: a torn last line waits for the rest of it. A file that is not there yet,
    or that nobody may read, has no rows. A file that was replaced or cut (a resumed run drops what came after its
    checkpoint) is read again from its beginning, and `restarts` grows by one. Nothing here raises an error because of
    what is in the file: lines that are no records are counted in `damaged`.

    Attributes: path; offset, the bytes taken so far; restarts; damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = self.restarts = self.damaged = 0
        self._file: tuple[int, int] | None = None

    def read(self) -> list[Row]:
        """All rows that are new since the last call, events included."""
        return [row for part in self.parts() for row in part]

    def parts(self) -> Iterator[list[Row]]:
        """The new rows, a few megabytes of them at a time."""
        try:
            with self.path.open("rb") as file:
                self._notice_replacement(os.fstat(file.fileno()))
                while True:
                    file.seek(self.offset)
                    block = file.read(CHUNK)
                    if b"\n" not in block and len(block) == CHUNK:
                        block += file.readline()
                    whole = block.rfind(b"\n") + 1
                    if not whole:
                        return
                    self.offset += whole
                    yield self._rows(block[:whole])
        except OSError:
            return

    def _notice_replacement(self, now: os.stat_result) -> None:
        identity = (now.st_dev, now.st_ino)
        if self._file is not None and (identity != self._file or now.st_size < self.offset):
            self.offset = self.damaged = 0
            self.restarts += 1
        self._file = identity

    def _rows(self, block: bytes) -> list[Row]:
        rows = []
        for line in block.splitlines():
            if (row := record(line)) is not None:
                rows.append(row)
            elif line.strip():
                self.damaged += 1
        return rows


def record(line: bytes) -> Row | None:
    """The object in a line; None when the line is no object with a whole number as its `step`."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def last_rows(path: Path, count: int = 1, *, at_most: int = 1 << 18) -> list[Row]:
    """Up to `count` of the newest rows, oldest first, from the last `at_most` bytes: quick for a file of any length."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - at_most)
            file.seek(start)
            lines = file.read(at_most).split(b"\n")
    except OSError:
        return []
    whole = lines[1 if start else 0 : -1]
    rows: list[Row] = []
    for line in reversed(whole):
        if len(rows) == count:
            break
        if (row := record(line)) is not None:
            rows.append(row)
    return rows[::-1]
