"""Derives splits and classes from folder names."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

TRAINING = "train", "training", "trainset"
OTHERS = "val", "valid", "validation", "test", "testing", "dev", "eval", "testset", "valset", "holdout", "heldout"


class Split(NamedTuple):
    """The training split of a data set, and its other splits.

    Attributes:
        training: the training split's folders, each with its images; `*/train` if they are below class folders.
        others: the other splits' folders, each with its number of images.
        classes: the path of each training image without split names, from which classes are derived.
    """

    training: dict[str, tuple[str, ...]]
    others: dict[str, int]
    classes: dict[str, str]


def find_split(images: Sequence[str]) -> Split | None:
    """Finds splits: `train/` next to `val/` or `test/`, at the top level or in each class folder; None if there are
    none.

    Folder names may have affixes, if those of both splits match: `train2017`, `test_images`, `cat_train`, `trainA`.
    """
    if not images:
        return None
    top = posixpath.commonpath({posixpath.dirname(name) for name in images})
    folders = {name: posixpath.dirname(name)[len(top) :].strip("/").split("/") for name in images}
    for depth in range(max(map(len, folders.values()))):
        at = {name: parts[depth] if depth < len(parts) else "" for name, parts in folders.items()}
        spelled = {folder: _part(folder) for folder in set(at.values())}
        training = {folder: rest for folder, (part, rest) in spelled.items() if part in TRAINING}
        others = {folder: rest for folder, (part, rest) in spelled.items() if part in OTHERS}
        kept = {name for name, folder in at.items() if folder in training}
        # At the top level, one training folder excludes all others, whatever their names.
        whole = len(training) + len(others) == len(spelled) or (depth == 0 and len(training) == 1)
        if not kept or not others or not whole or not set(others.values()) <= set(training.values()):
            continue
        named = len(set(training.values())) > 1
        shown = {folder: posixpath.join(top, *["*"] * depth, folder) for folder in spelled}
        rests = {name: [training[at[name]]] if named else [] for name in kept}
        below = {name: [*folders[name][:depth], *rests[name], *folders[name][depth + 1 :]] for name in kept}
        counts = Counter(at.values())
        rest = [*sorted(others), *sorted(spelled.keys() - training.keys() - others.keys() - {""})]
        return Split(
            {shown[f]: tuple(name for name in images if at[name] == f) for f in sorted(training)},
            {shown[folder]: counts[folder] for folder in rest},
            {name: "/".join(part for part in below[name] if part) for name in images if name in kept},
        )
    return None


def _part(folder: str) -> tuple[str, str]:
    """Separates a folder's name into split and affix: ("val", "2017") for `val2017`; else ("", name)."""
    domain = re.fullmatch("(train|test|val)([AB])", folder)
    words = [domain[1], domain[2]] if domain else re.split("([^A-Za-z]+)", folder)
    places = [place for place, word in enumerate(words) if word.lower() in TRAINING + OTHERS]
    if len(places) != 1:
        return "", folder
    rest = "".join(words[: places[0]] + words[places[0] + 1 :])
    return words[places[0]].lower(), re.sub("[-_. ]{2,}", "_", rest).strip("-_. ")


def inner_paths(paths: Sequence[str]) -> dict[str, str]:
    """Strips common leading and trailing folders from paths: `cat` from `set/cat/images`.

    A folder around everything, or inside every folder, is not a class.
    """
    parts = {path: path.split("/") if path else [] for path in set(paths)}
    depth = min(map(len, parts.values()))
    before = next((k for k in range(depth) if len({tuple(p[: k + 1]) for p in parts.values()}) > 1), depth)
    short = {path: p[before:] for path, p in parts.items()}
    depth = min(map(len, short.values()))
    after = next((k for k in range(depth) if len({tuple(p[len(p) - k - 1 :]) for p in short.values()}) > 1), depth)
    return {path: "/".join(p[: len(p) - after]) for path, p in short.items()}
