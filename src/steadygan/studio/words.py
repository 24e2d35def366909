"""Configurations and scores, for people who look at many runs."""

from __future__ import annotations

from typing import Any

from steadygan.runs.reading import cost


def better(name: str) -> str | None:
    """In which direction a score improves: lower, higher, or near one; None where that is not known."""
    return {2.0: "lower", -2.0: "higher", 1.0: "near one", None: None}[cost(name, 2.0)]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def shown(name: str) -> str:
    """A name of a folder or class for people: what cannot be seen, or turns the text around, is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
