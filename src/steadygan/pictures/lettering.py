"""Names on pictures, in a font that has their letters."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

from steadygan.names import composed

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FILES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf"),
    *("NotoSansCJK-Regular.ttc", "msyh.ttc", "Arial Unicode.ttf"),
)
"""Fonts of many systems, for letters that Pillow's own font lacks (it has little beyond ASCII)."""
ABSENT = "\U0010ffff"
"""A code that no font has a glyph for."""


def legible(names: Sequence[str], size: int) -> tuple[list[str], Font]:
    """Names and a font to write them in.

    Pillow's font if it has all letters, else the first font of this machine that has most. Letters that it lacks, too,
    are written plainly: é as e, ß as ss, anything else as "?".

    Args:
        names: any text.
        size: of the letters, in pixels.
    """
    whole = [composed(name) for name in names]
    letters = frozenset("".join(whole))
    best, most = ImageFont.load_default(size), -1
    for font in _fonts(size):
        found = sum(_has(font, letter) for letter in letters)
        if found > most:
            best, most = font, found
        if found == len(letters):
            break
    return ["".join(_written(letter, best) for letter in name).strip() for name in whole], best


def _fonts(size: int) -> Iterator[Font]:
    yield ImageFont.load_default(size)
    for file in (*_of_matplotlib(), *FILES):
        try:
            yield ImageFont.truetype(file, size)
        except OSError:  # not on this machine
            continue


@cache
def _of_matplotlib() -> tuple[str, ...]:
    """DejaVu Sans, which comes with matplotlib."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return ()
    return (str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"),)


def _has(font: Font, letter: str) -> bool:
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(ABSENT))


def _written(letter: str, font: Font) -> str:
    if _has(font, letter):
        return letter
    for form in (letter, letter.casefold()):
        if plain := "".join(part for part in unicodedata.normalize("NFKD", form) if _has(font, part)):
            return plain
    return "" if unicodedata.category(letter)[0] in "MC" else "?"
