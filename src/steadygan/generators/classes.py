"""Classes by number or name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Protocol

from steadygan.errors import UserError, nearest
from steadygan.names import composed

Classes = int | str | Sequence[int | str] | None


class Known(Protocol):
    """The classes of a generator: their number, their names, and the indices of trained ones."""

    classes: int
    class_names: tuple[str, ...]
    trained_classes: tuple[int, ...]


def class_numbers(asked: Classes, known: Known) -> int | list[int] | None:
    """Indices of the requested classes; None: all trained classes.

    Raises:
        UserError: a class does not exist.
    """
    if asked is None:
        return list(known.trained_classes) or None
    single = isinstance(asked, (int, str, Integral))
    entries: Any = [asked] if single else asked
    numbers = [_class_number(entry, known.class_names) for entry in entries]
    if strange := sorted(set(range(known.classes)) & (set(numbers) - set(known.trained_classes))):
        names = [known.class_names[number] if number < len(known.class_names) else str(number) for number in strange]
        warnings.warn(f"this generator was not trained on images of class {', '.join(names)}", stacklevel=4)
    return numbers[0] if single else numbers


def _class_number(entry: int | str | Integral, names: Sequence[str]) -> int:
    if isinstance(entry, str) and (place := place_of(entry, names)) is not None:
        return place
    try:
        return int(entry)
    except (TypeError, ValueError):
        known = names or ["none: the generator is unconditional"]
        raise UserError(f"there is no class {entry!r}; {nearest(str(entry), known)}") from None


def place_of(name: str, names: Sequence[str]) -> int | None:
    """The index of a class name, in either encoding of ü (one character or two); None: there is no such class."""
    if name in names:
        return names.index(name)
    known = [composed(other) for other in names]
    return known.index(composed(name)) if composed(name) in known else None
