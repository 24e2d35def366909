"""The words of the project: phrasings that hide what is meant stay out of the tree (docs/style.md)."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BANNED = [
    r"go(es|ing)? on (from|with|in)\b",
    r"is told\b",
    r"told of\b",
    r"by heart\b",
    r"for ever\b",
    r"\bmachine code\b",
    r"\bspread(s|ing)? and merg",
    r"takes no side",
    r"undecided D pays",
    r"\bwhat is (made|said|done) of\b",
    r"\bcannot be had\b",
    r"\bthey all become one\b",
    r"\bone and the same\b",
    r"\bwhat becomes of\b",
    r"\bof its own accord\b",
    r"\bgame value\b",
]
"""As regular expressions, in any case."""

ABOUT_THE_WORDS = {"docs/style.md", "tests/test_style.py"}


def texts() -> dict[str, str]:
    """Everything that is read by people, by its path: prose, help and docstrings, comments."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for folder in ("src", "tests", "benchmarks", ".ci", ".github", "deploy", "notebooks"):
        files += [
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".yaml", ".yml", ".md", ".js", ".html", ".ipynb")
        ]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    return {name: text for name, text in found.items() if name not in ABOUT_THE_WORDS and "/static/lib/" not in name}


def test_no_banned_phrasing_is_in_the_tree() -> None:
    pattern = re.compile("|".join(BANNED), re.IGNORECASE)
    found = []
    for name, text in texts().items():
        for number, line in enumerate(text.splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{name}:{number}: {match[0]}")
    assert found == []
