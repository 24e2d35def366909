"""The words of the project: phrasings that hide what is meant stay out of the tree (docs/style.md)."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BANNED = [
    r"\b(go|goes|going|went|gone)( |_)on\b",
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
SUFFIXES = {".cff", ".css", ".html", ".ipynb", ".js", ".md", ".py", ".sbatch", ".sh", ".toml", ".yaml", ".yml"}


def texts() -> dict[str, str]:
    """Everything that is read by people, by its path: prose, help and docstrings, comments."""
    files = [ROOT / ".ci/run", *(path for path in ROOT.iterdir() if path.suffix in SUFFIXES)]
    for folder in ("src", "tests", "docs", "benchmarks", ".ci", ".github", "deploy", "notebooks", "results"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    return {name: text for name, text in found.items() if name not in ABOUT_THE_WORDS}


def test_no_banned_phrasing_is_in_the_tree() -> None:
    """Nor one that is broken over two lines, of prose or of a comment."""
    pattern = re.compile("|".join(BANNED).replace(" ", r"(?: |\s*\n[\s#*]*)"), re.IGNORECASE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts().items()
        for match in pattern.finditer(text)
    ]
    assert found == []
