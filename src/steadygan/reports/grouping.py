"""Groups of runs that differ only in their seed, summarised by mean and standard deviation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean, stdev

from steadygan.runs.reading import Row, Run

SEED = "train.seed"
IMMATERIAL: tuple[str, ...] = ("name", "about.", "eval.", "train.device", "train.keep_checkpoints")
IMMATERIAL += ("train.log_every", "train.sample_every", "train.checkpoint_every")
"""Keys and prefixes of keys that do not affect training: names, logging, checkpoints."""


@dataclass(frozen=True)
class Group:
    """Runs summarised as one."""

    name: str
    runs: tuple[Run, ...]


def singles(runs: Sequence[Run]) -> list[Group]:
    """One group per run."""
    return [Group(run.name, (run,)) for run in runs]


def group_seeds(runs: Sequence[Run], but: str = SEED) -> list[Group]:
    """Groups runs whose configurations differ at most in `train.seed` (and the key `but`), in order of appearance.

    A run without configuration forms its own group.
    """
    members: dict[str, list[Run]] = {}
    for index, run in enumerate(runs):
        kept = {
            key: value for key, value in run.config.items() if key not in (SEED, but) and not key.startswith(IMMATERIAL)
        }
        identity = json.dumps(kept, sort_keys=True, default=str) if run.config else f"run {index}"
        members.setdefault(identity, []).append(run)
    names = [_common_name([run.name for run in group]) for group in members.values()]
    return [
        Group(name if names.count(name) == 1 else group[0].name, tuple(group))
        for name, group in zip(names, members.values(), strict=True)
    ]


def _common_name(names: Sequence[str]) -> str:
    """The common part of `digits-seed0` and `digits-seed1`: `digits`."""
    if len(names) == 1:
        return names[0]
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    stem = "".join(letters[0] for letters in same)
    if any(name[len(stem) :][:1].isdigit() for name in names):
        stem = stem.rstrip("0123456789")  # for seeds 10 and 11 it ends with the first digit
    stem = stem.rstrip("-_. ")
    return stem.removesuffix("seed").rstrip("-_. ") or names[0]


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (divided by n - 1); the latter is None for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def merged(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float, float]]:
    """(step, mean, standard deviation, 0 for one curve) at every step that all curves have.

    At other steps the mean would be over different runs, and jump when one ends.
    """
    by_step = [dict(curve) for curve in curves]
    if not by_step:
        return []
    shared = [step for step in by_step[0] if all(step in curve for curve in by_step)]
    points = [(step, *mean_and_sd([curve[step] for curve in by_step])) for step in sorted(shared)]
    return [(step, mean, sd or 0.0) for step, mean, sd in points]


def merge_rows(rows: Sequence[Row], groups: Sequence[Group], scores: Sequence[str]) -> list[Row]:
    """Merges one row per run to one per group: means, and standard deviations next to the columns `scores`.

    A group lacks values that one of its runs lacks.
    """
    by_run = {row["run"]: row for row in rows}
    result = []
    for group in groups:
        members = [by_run[run.name] for run in group.runs]
        row: Row = {"run": group.name, "seeds": len(members)}
        for column in list(rows[0])[1:]:
            if column.endswith(" best at step"):
                continue
            values = [member[column] for member in members]
            mean, sd = (None, None) if None in values else mean_and_sd(values)
            row[column] = mean
            if column in scores:
                row[f"{column} sd"] = sd
        result.append(row)
    return result
