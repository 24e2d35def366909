"""Replaces the rows of a results CSV that were measured again."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def update(path: Path, columns: Sequence[str], keys: int, rows: Iterable[Mapping[str, Any]]) -> None:
    """Puts rows in the place of those with the same first `keys` columns, or at the end; other rows stay."""
    new = {tuple(str(row.get(name, "")) for name in columns[:keys]): row for row in rows}
    old: list[Mapping[str, Any]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            old = list(csv.DictReader(file))
    kept = [new.pop(tuple(row.get(name, "") for name in columns[:keys]), row) for row in old]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *new.values()])
