"""Writes and reads the records of a run, one JSON object a line, also while a run writes them.

Every line has `schema`, its schema version, which lines of version 0.1.0 lack. Readers drop the key.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steadygan.errors import UserError

Row = dict[str, Any]

SCHEMA = 1
CHUNK = 4 << 20
"""Bytes read at a time, which bounds memory for files of any length."""


class Follower:
    """Reads new lines of a `.jsonl` file since the last call; one object a line, each with an integer `step`.

    An incomplete last line is left for the next call. A missing or unreadable file has no rows. A file that was
    replaced or truncated (a resumed run drops records from after its checkpoint) is read again from the start. The
    content never raises an error.

    Attributes:
        path: the file.
        offset: bytes read so far.
        restarts: how often the file was read again from the start.
        damaged: number of invalid lines.
        newer: number of lines of a later version of steadygan, which are read as far as possible.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = self.restarts = self.damaged = self.newer = 0
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
                        # A complete object cannot be the beginning of a longer one.
                        if record(block) is not None:
                            self.offset += len(block)
                            yield self._rows(block)
                        return
                    self.offset += whole
                    yield self._rows(block[:whole])
        except OSError:
            return

    def _notice_replacement(self, now: os.stat_result) -> None:
        identity = (now.st_dev, now.st_ino)
        if self._file is not None and (identity != self._file or now.st_size < self.offset):
            self.offset = self.damaged = self.newer = 0
            self.restarts += 1
        self._file = identity

    def _rows(self, block: bytes) -> list[Row]:
        rows = []
        for line in block.split(b"\n"):
            if (row := record(line)) is not None:
                self.newer += schema_of(line) > SCHEMA
                rows.append(row)
            elif line.strip():
                self.damaged += 1
        return rows


def write_record(row: Mapping[str, Any]) -> bytes:
    """The line of a record, with its line break."""
    return (json.dumps({"schema": SCHEMA, **row}) + "\n").encode()


def record(line: bytes) -> Row | None:
    """The object in a line; None unless it is an object with an integer `step`."""
    row = _parsed(line)
    if row is None or type(row.get("step")) is not int:
        return None
    row.pop("schema", None)
    return row


def schema_of(line: bytes) -> int:
    """The schema version of a line; 0 if it has none."""
    found = (_parsed(line) or {}).get("schema") if b'"schema"' in line else 0
    return found if type(found) is int else 0


def _parsed(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def read_records(path: Path) -> list[Row]:
    """All rows of a file, events included; warns of lines left out.

    Raises:
        UserError: a later version of steadygan wrote the file.
    """
    follower = Follower(path)
    rows = follower.read()
    if follower.newer:
        raise UserError(f"{path} was written by a later version of steadygan; read it with that one")
    if follower.damaged:
        lines = "a damaged line" if follower.damaged == 1 else f"{follower.damaged} damaged lines"
        warnings.warn(f"{path}: {lines} left out", stacklevel=2)
    return rows


def last_rows(path: Path, count: int = 1, *, at_most: int = 1 << 18) -> list[Row]:
    """Up to `count` of the newest rows, oldest first, from the last `at_most` bytes; fast for files of any length."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - at_most)
            file.seek(start)
            lines = file.read(at_most).split(b"\n")
    except OSError:
        return []
    rows: list[Row] = []
    for line in reversed(lines[1:] if start else lines):
        if len(rows) == count:
            break
        if (row := record(line)) is not None:
            rows.append(row)
    return rows[::-1]
