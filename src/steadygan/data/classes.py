"""Converts labels of any spelling to class numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from steadygan.errors import UserError
from steadygan.names import composed, not_text

MAX_CLASSES, NAMED = 1_000_000, 5
MISSING = ("", "nan", "na", "<na>", "#n/a", "n/a", "nat", "null", "none", "-", "--", "?", ".")
"""Spellings of a missing label in tables, in lower case."""


def number_classes(
    values: Sequence[Any], where: str, class_names: Sequence[Any] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Converts labels to class numbers (N,) int64 and class names; names are numbered in sorted order.

    Numbers as text count as numbers, and so does 3.0, which tables with gaps contain; true and false are names.
    `class_names` gives names to numbers. Raises UserError, which names `where`.
    """
    if all(isinstance(value, bool) for value in values):
        values = [str(value) for value in values]
    numbers = [number for value in values if (number := _whole(value)) is not None]
    if len(numbers) == len(values) and (least := min(numbers, default=0)) < 0:
        raise UserError(
            f"{where}: {least} is not a label, as class numbers start at 0; if it stands for no label, "
            "leave those images out"
        )
    if len(numbers) == len(values):
        needed = max(numbers, default=-1) + 1
        if needed > MAX_CLASSES:
            raise UserError(f"{where} uses class number {needed - 1}, over the limit of {MAX_CLASSES}")
        names = tuple(map(str, range(needed) if class_names is None else class_names))
        if len(names) < needed:
            raise UserError(f"{where} uses class number {needed - 1} but names only {len(names)} classes")
        for name in names:
            _check_text(name, where)
        warn_of_empty(np.array(numbers, np.int64), names, where)
        return np.array(numbers, np.int64), names
    if all(isinstance(value, str) and value.strip().lower() not in MISSING for value in values):
        place, names = name_classes(values, where)
        return np.array([place[value] for value in values], np.int64), names
    row, wrong = next(
        (row, value)
        for row, value in enumerate(values, 1)
        if not isinstance(value, str) or value.strip().lower() in MISSING
    )
    raise UserError(
        f"{where}: {_shown(wrong)} (image {row}) is no label; expected class numbers from 0, or names, for each image"
    )


def name_classes(spellings: Iterable[str], where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class numbers by spelling, and the classes' names, in sorted order of the spellings.

    The two encodings of ü, as one character and as two, are one class; its name is the composed one. Warns of names
    that differ only in case. Raises UserError, which names `where`, for a name that is not text.
    """
    place: dict[str, int] = {}
    names: dict[str, int] = {}
    for spelling in sorted(set(spellings)):
        _check_text(spelling, where)
        place[spelling] = names.setdefault(composed(spelling), len(names))
    _warn_of_spellings(tuple(names), where)
    return place, tuple(names)


def _check_text(name: str, where: str) -> None:
    if strange := not_text(name):
        raise UserError(f"{where}: the class name {strange} is not valid UTF-8: rename the class")


def _whole(value: Any) -> int | None:
    """The integer that a label is or spells; None for any other label."""
    if type(value) not in (int, float, str):
        return None
    try:
        return int(value) if type(value) is not float else _exact(value)
    except ValueError:
        pass
    try:
        return _exact(float(value))
    except ValueError:
        return None


def _exact(value: float) -> int | None:
    return int(value) if value.is_integer() else None


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if value is not None else "no value"


def _warn_of_spellings(names: Sequence[str], where: str) -> None:
    """Warns of names that differ only in case, as they are separate classes."""
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(name.casefold(), name)) != name:
            warnings.warn(
                f"{where}: {other!r} and {name!r} differ only in case and are two classes; if they are one, "
                "spell them alike",
                stacklevel=4,
            )
            return


def warn_of_empty(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Warns of classes without images, such as class 0 if labels start at 1; they are never sampled."""
    empty = [name for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True) if not count]
    if empty:
        named = ", ".join(empty[:NAMED]) + (", …" if len(empty) > NAMED else "")
        hint = "; do its labels start at 1?" if empty == [names[0]] else ""
        warnings.warn(
            f"{where}: {len(empty)} of {len(names)} classes have no image, {named}: none is asked of the generator"
            f" in training{hint}",
            stacklevel=3,
        )
