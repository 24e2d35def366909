"""Detects the family of files and converts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from steadygan.errors import UserError
from steadygan.importing.files import read_file
from steadygan.importing.layouts import (
    biggan,
    biggan_deep,
    cyclegan,
    huggingface,
    misfits,
    nvidia,
    nvidia_state,
    rosinality,
    studiogan,
)
from steadygan.importing.layouts.common import Imported, Options
from steadygan.importing.layouts.parts import Part
from steadygan.importing.values import Refused


class Layout(NamedTuple):
    """A family: a test whether files belong to it, and their conversion. Both take all files at once."""

    name: str
    matches: Callable[[Sequence[Part]], bool]
    convert: Callable[[Sequence[Part], Options], Imported]


def _single(name: str, module: Any) -> Layout:
    """A family with all networks in one file."""
    return Layout(
        name,
        lambda parts: len(parts) == 1 and module.matches(parts[0].value),
        lambda parts, options: module.convert(parts[0].value, options),
    )


LAYOUTS: Sequence[Layout] = (
    _single("stylegan2-ada", nvidia),
    _single("stylegan2-state", nvidia_state),
    _single("rosinality", rosinality),
    Layout("huggingface", huggingface.matches, huggingface.convert),
    Layout("studiogan", studiogan.matches, studiogan.convert),
    Layout("cyclegan", cyclegan.matches, cyclegan.convert),
    Layout("biggan-deep", biggan_deep.matches, biggan_deep.convert),
    Layout("biggan", biggan.matches, biggan.convert),
)
"""Most specific first; the first match is used."""


def read_files(paths: Sequence[Path], given: Mapping[str, str], family: str | None = None) -> Imported:
    """Reads the networks in files that belong together, and converts them to our layout.

    Args:
        paths: the files.
        given: settings of the family, as text.
        family: a name in `LAYOUTS`; None: detect it.

    Raises:
        UserError: a file is not recognised; the message names it.
        Refused: no family matches, or a tensor cannot be converted.
    """
    parts = [Part(path, read_file(path)) for path in paths]
    layout = _choose(parts, family)
    options = Options(given)
    try:
        imported = layout.convert(parts, options)
    except Refused as error:
        raise Refused(f"{paths[0]}: {layout.name}: {error}") from error
    options.finish()
    imported.assumed += options.assumed
    return imported


def _choose(parts: Sequence[Part], family: str | None) -> Layout:
    if family is not None:
        known = {layout.name: layout for layout in LAYOUTS}
        if family not in known:
            raise UserError(f"--family {family}: known are {', '.join(sorted(known))}")
        return known[family]
    misfits.refuse(parts)
    for layout in LAYOUTS:
        if layout.matches(parts):
            return layout
    raise Refused(f"{parts[0].path}: holds no networks of a family that can be imported ({_look(parts[0].value)})")


def _look(value: Any) -> str:
    """A short description of a file's content."""
    if isinstance(value, dict):
        keys = [key for key in value if isinstance(key, str)]
        return "it has " + ", ".join(f"{key!r:.60}" for key in keys[:6]) + (", …" if len(keys) > 6 else "")
    return f"a {type(value).__name__}"
