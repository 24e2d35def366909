"""Letters in the names of files and classes."""

from __future__ import annotations

import unicodedata


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), in which ü is one character; a Mac's file names use two."""
    return unicodedata.normalize("NFC", name)


def not_text(name: str) -> str:
    """The printable form, in quotes, of a file's name whose bytes are not UTF-8; empty for any other name."""
    shown = name.encode(errors="backslashreplace").decode()
    return "" if shown == name else f"'{shown}'"
