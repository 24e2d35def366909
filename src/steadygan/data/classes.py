"""Class numbers from labels, however they are written."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from steadygan.errors import UserError

MAX_CLASSES, NAMED = 1_000_000, 5
MISSING = ("", "nan", "null", "none", "n/a")
"""Spellings of a missing label in tables; lower case."""


def number_classes(
    values: Sequence[Any], where: str, class_names: Sequence[Any] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N,) int64 and the classes' names, from numbers starting at 0 or from names, numbered as they sort.

    Numbers written as text count as numbers; `class_names` names them. Raises UserError, naming `where`.
    """
    try:
        numbers = [value if type(value) is int else int(value) for value in values if type(value) in (int, str)]
    except ValueError:
        numbers = []
    if len(numbers) == len(values) and min(numbers, default=0) >= 0:
        needed = max(numbers, default=-1) + 1
        if needed > MAX_CLASSES:
            raise UserError(f"{where} uses class number {needed - 1}, over the limit of {MAX_CLASSES}")
        names = tuple(map(str, range(needed) if class_names is None else class_names))
        if len(names) < needed:
            raise UserError(f"{where} uses class number {needed - 1} but names only {len(names)} classes")
        warn_of_empty(np.array(numbers, np.int64), names, where)
        return np.array(numbers, np.int64), names
    if all(isinstance(value, str) and value.strip().lower() not in MISSING for value in values):
        names = tuple(sorted(set(values)))
        place = {name: label for label, name in enumerate(names)}
        return np.array([place[value] for value in values], np.int64), names
    wrong = next(value for value in values if not isinstance(value, str) or value.strip().lower() in MISSING)
    raise UserError(f"{where}: {wrong!r} is not a label; expected class numbers from 0, or names, for every image")


def warn_of_empty(labels: np.ndarray, names: Sequence[str], where: str) -> None:
    """Warns of classes without an image, such as class 0 where labels start at 1; no label is ever drawn of them."""
    empty = [name for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True) if not count]
    if empty:
        named = ", ".join(empty[:NAMED]) + (", …" if len(empty) > NAMED else "")
        hint = "; do its labels start at 1?" if empty == [names[0]] else ""
        warnings.warn(
            f"{where}: {len(empty)} of {len(names)} classes have no image, {named}: none is asked of the generator"
            f" in training{hint}",
            stacklevel=3,
        )
