"""What run directories say: metrics and scores, read back from their files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from steadygan.errors import UserError

Row = dict[str, Any]

NOT_THE_PROTOCOL = {"steadygan", "torch", "data_fingerprint"}
"""Recorded with a protocol, but scores that differ only here are comparable: `reals_sha256` stays."""

PROGRESS = {"step", "images", "seconds", "images_per_s", "eval_seconds"}


@dataclass(frozen=True)
class Run:
    """A run directory as read: metrics and scores, each by rising step; its configuration by dotted key.

    `config` is empty where there is no config.yaml.
    """

    name: str
    metrics: list[Row]
    scores: list[Row]
    config: Row = field(default_factory=dict)


def read_lines(path: Path) -> list[Row]:
    """The JSON objects of a .jsonl file, one a line.

    A last line that was never finished (the writer was killed) is left out; any other damage is a UserError.
    """
    *lines, unfinished = path.read_bytes().split(b"\n")
    rows: list[Row] = []
    for number, line in enumerate([*lines, unfinished], start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                raise ValueError("not an object with a step")
            rows.append(row)
        except ValueError as error:
            if number <= len(lines):
                raise UserError(f"{path}:{number} is damaged ({error}); remove the line") from None
    return rows


def read_run(path: Path, name: str | None = None) -> Run:
    """The run in a directory. Where a resumed run took a step (or a score) again, the later line counts.

    Raises UserError when there is no run, or nothing in it yet.
    """
    if not (path / "metrics.jsonl").is_file():
        raise UserError(f"{path} is not a run directory: it has no metrics.jsonl")
    metrics = {row["step"]: row for row in read_lines(path / "metrics.jsonl") if "event" not in row}
    if not metrics:
        raise UserError(f"{path / 'metrics.jsonl'} is empty: the run has not reached its first report yet")
    scored = read_lines(path / "scores.jsonl") if (path / "scores.jsonl").is_file() else []
    for row in scored:
        if not isinstance(row.get("protocol"), dict) or "name" not in row["protocol"]:
            raise UserError(f"{path / 'scores.jsonl'}: the score at step {row['step']} lacks its protocol; remove it")
    scores = {(row["step"], protocol_identity(row)): row for row in scored}
    config = read_config(path / "config.yaml")
    return Run(name or path.name, _by_step(metrics.values()), _by_step(scores.values()), config)


def read_config(path: Path) -> Row:
    """As it was written: what this version would make of it is not what the run was."""
    if not path.is_file():
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    return dict(_flat(tree)) if isinstance(tree, dict) else {}


def _flat(tree: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
    if not paths:
        raise UserError("no run directories given to compare")
    folders = [Path(path) for path in paths]
    names = [folder.resolve().name for folder in folders]
    return [
        read_run(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def _by_step(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["step"])


def _protocol(row: Row) -> Row:
    return {key: value for key, value in row["protocol"].items() if key not in NOT_THE_PROTOCOL}


def protocol_identity(row: Row) -> str:
    return json.dumps(_protocol(row), sort_keys=True)


def number(value: Any) -> float:
    """A finite number, or NaN for what a diverged run writes instead (null, NaN, Infinity)."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def score_names(row: Row) -> list[str]:
    return [name for name in row if name != "protocol" and name not in PROGRESS]


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Each protocol in use, by identity: its name, and what sets it apart from others of that name."""
    protocols = _protocols(runs)
    labels = {}
    for identity, protocol in protocols.items():
        namesakes = [other for other in protocols.values() if other["name"] == protocol["name"]]
        differing = [key for key in protocol if any(other.get(key) != protocol[key] for other in namesakes)]
        details = [f"{key}={_short(protocol[key])}" for key in differing]
        labels[identity] = " ".join([protocol["name"], *details])
    return labels


def _protocols(runs: Sequence[Run]) -> dict[str, Row]:
    return {protocol_identity(row): _protocol(row) for run in runs for row in run.scores}


def protocol_difference(runs: Sequence[Run]) -> list[str]:
    """What the protocols in use differ in, by key."""
    protocols = list(_protocols(runs).values())
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    return [key for key in keys if any(protocol.get(key) != protocols[0].get(key) for protocol in protocols)]


def _short(value: Any) -> str:
    is_digest = isinstance(value, str) and len(value) == 64
    return value[:8] if is_digest else str(value)


def score_columns(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """(column, score, protocol identity); a column names the protocol where several have taken the score."""
    labels = _labels(runs)
    pairs = {(name, protocol_identity(row)): None for run in runs for row in run.scores for name in score_names(row)}
    names = [name for name, _ in pairs]
    return [
        (name if names.count(name) == 1 else f"{name} [{labels[identity]}]", name, identity) for name, identity in pairs
    ]


def series(run: Run, name: str, identity: str) -> list[tuple[int, float]]:
    taken = [row for row in run.scores if name in row and protocol_identity(row) == identity]
    return [(row["step"], number(row[name])) for row in taken]


def cost(name: str, value: float) -> float | None:
    """How bad a score is, for finding the best; None for a score whose good direction is unknown."""
    if name.endswith("_std"):
        return None
    if name.startswith(("FD-", "FID", "KD-", "KID", "kl")):
        return value
    if name.startswith(("IS", "class_agreement", "modes", "precision", "recall", "density", "coverage")):
        return -value
    return abs(value - 1) if name == "diversity" else None


def last_score(path: Path) -> Row:
    """The newest record of a run's scores.jsonl, empty when there is none."""
    scores = path / "scores.jsonl"
    return next(reversed(read_lines(scores)), {}) if scores.is_file() else {}
