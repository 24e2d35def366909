"""Hints on misspelled overrides, for the messages of `overrides`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import BaseModel

from steadygan.errors import nearest

ELSEWHERE = {
    "batch": ["train.batch_size"],
    "bs": ["train.batch_size"],
    "betas": ["optim.g.beta1", "optim.g.beta2"],
    "dataset": ["data.path"],
    "data_dir": ["data.path"],
    "decay": ["train.ema.half_life"],
    "diffaug": ["augment.diffaugment.policy"],
    "ema_decay": ["train.ema.half_life"],
    "epochs": ["train.steps"],
    "gpu": ["train.device"],
    "gpus": ["train.device"],
    "image_size": ["data.size"],
    "img_size": ["data.size"],
    "iterations": ["train.steps"],
    "kimg": ["train.steps"],
    "latent_dim": ["model.latent"],
    "learning_rate": ["optim.g.lr", "optim.d.lr"],
    "max_iter": ["train.steps"],
    "num_steps": ["train.steps"],
    "resolution": ["data.size"],
    "workers": ["train.threads"],
    "z_dim": ["model.latent"],
}
"""Keys by their names in other programs."""
NOTHING = ("none", "null", "nil", "~", "off", "no", "false", '""', "''")
"""Other spellings of `null`, in lower case."""


def keys(root: type[BaseModel], path: str = "") -> Iterator[str]:
    """All keys below a section, including sections."""
    for name, field in root.model_fields.items():
        yield f"{path}{name}"
        for part in (field.annotation, *get_args(field.annotation)):
            # Skip schedules, which replace numbers: their keys cannot be set individually.
            if isinstance(part, type) and issubclass(part, BaseModel) and part.__name__ != "Schedule":
                yield from keys(part, f"{path}{name}.")


def meant(root: type[BaseModel], path: str) -> list[str]:
    """Known keys that match an unknown one up to case and dots, or end with it."""
    known = list(keys(root))
    squashed = _squashed(path)
    if same := [key for key in known if _squashed(key) == squashed]:
        return same
    first, _, rest = path.casefold().partition(".")
    if rest and (inner := [key for key in known if key.endswith(f".{first}")]):
        return [f"{key}.{rest}" for key in inner[:3]]
    last = _squashed(re.split("[./]", path)[-1])
    if ends := [key for key in known if _squashed(key.rpartition(".")[2]) == last]:
        return ends[:3] if len(last) > 1 else []
    return next((found for name, found in ELSEWHERE.items() if _squashed(name) == last), [])


def hint(root: type[BaseModel], path: str, section: type[BaseModel], key: str) -> str:
    """The end of a message on an unknown key: the key that is probably meant.

    Args:
        root: the type of the configuration.
        path: the key with its sections, as written.
        section: the type of its section.
        key: the unknown key in it.
    """
    if found := meant(root, path):
        return f"did you mean {' or '.join(map(repr, found))}?"
    return nearest(key, section.model_fields)


def number(path: str, text: str, *, whole: bool) -> str:
    """The end of a message on an invalid number: its correct spelling, or empty."""
    plain = text.strip().lower()
    if path.endswith("hours") and (hours := _hours(plain)) is not None:
        return f"; write {path}={hours:g}, in hours"
    thousands = re.fullmatch(r"[-+]?\d{1,3}([ ,.]\d{3})+", plain)
    if path.endswith("size") and not thousands and (sides := re.fullmatch(r"(\d+) ?[x×*,; ] ?(\d+)( ?px)?", plain)):
        side = sides[1] if sides[1] == sides[2] else min(sides[1], sides[2], key=int)
        return f"; write {path}={side}, the side of a square"
    if unit := re.fullmatch(r"([\d_.]+) ?(k|m|g|px|pixels|%)", plain):
        factor = {"k": 1e3, "m": 1e6, "g": 1e9, "%": 0.01}.get(unit[2], 1)
        try:
            value = float(unit[1]) * factor
        except ValueError:
            return ""
        return f"; write {path}={int(value) if value.is_integer() else f'{value:g}'}"
    if thousands and whole:
        return f"; write {path}={re.sub('[ ,.]', '', plain)}"
    if re.fullmatch(r"[-+]?\d*,\d+", plain) and not whole:
        return f"; write {path}={plain.replace(',', '.')} with a point"
    return ""


def misspaced(overrides: Sequence[str]) -> dict[int, tuple[int, str]]:
    """Overrides split by spaces: the index of the first word -> number of words and message."""
    found, place = {}, 0
    while place < len(overrides):
        count, key, value = _torn(overrides[place : place + 3])
        if count:
            words = " ".join(overrides[place : place + count])
            found[place] = count, f"{words!r}: a key and its value are one word, without spaces; write {key}={value}"
        place += max(1, count)
    return found


def _torn(words: Sequence[str]) -> tuple[int, str, str]:
    key, equals, value = words[0].partition("=")
    rest = list(words[1:])
    if not re.fullmatch(r"[A-Za-z_][\w.]*", key) or value or not rest:
        return 0, "", ""
    if not equals and rest[0] == "=" and len(rest) > 1:
        return 3, key, rest[1]
    if not equals and rest[0].startswith("=") and rest[0] != "=":
        return 2, key, rest[0][1:]
    if "=" not in rest[0] and (equals or "." in key):
        return 2, key, rest[0]
    return 0, "", ""


def _hours(text: str) -> float | None:
    """Parses a duration to hours: `30m`, `1h30`, `1:30`, `90 min`, `1/2`."""
    if clock := re.fullmatch(r"(\d+):(\d\d)", text):
        return int(clock[1]) + int(clock[2]) / 60
    if fraction := re.fullmatch(r"(\d+)/([1-9]\d*)", text):
        return int(fraction[1]) / int(fraction[2])
    units = {
        "s": 1 / 3600,
        "sec": 1 / 3600,
        "m": 1 / 60,
        "min": 1 / 60,
        "h": 1,
        "hours": 1,
        "hour": 1,
        "d": 24,
        "days": 24,
    }
    if (one := re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text)) and one[2] in units:
        return float(one[1]) * units[one[2]]
    if both := re.fullmatch(r"(\d+) ?h ?(\d+) ?(m|min)?", text):
        return int(both[1]) + int(both[2]) / 60
    return None


def _squashed(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.casefold())
