"""Text for pages: directions of scores, flat configurations, safe names."""

from __future__ import annotations

from typing import Any

from steadygan.runs.reading import cost


def better(name: str) -> str | None:
    """The better direction of a score: lower, higher, or near one; None if unknown."""
    return {2.0: "lower", -2.0: "higher", 1.0: "near one", None: None}[cost(name, 2.0)]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens a nested mapping to dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def shown(name: str) -> str:
    """Escapes invisible and bidirectional control characters in the name of a folder or class."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
