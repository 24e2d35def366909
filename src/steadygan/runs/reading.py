"""Reads metrics and scores of run directories."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steadygan.errors import UserError, no_run
from steadygan.files import parse_yaml, read_text
from steadygan.runs.following import Row as Row
from steadygan.runs.following import last_rows, read_records

NOT_THE_PROTOCOL = {"steadygan", "torch", "data_fingerprint", "better"}
"""Protocol entries that do not affect comparability, since `reals_sha256` is compared."""

PROGRESS = {"step", "images", "seconds", "images_per_s", "eval_seconds"}


@dataclass(frozen=True)
class Run:
    """A run's metrics and scores, each in order of steps, and its configuration by dotted key.

    `config` is empty without a config.yaml; `events` are in the order in which they occurred.
    """

    name: str
    metrics: list[Row]
    scores: list[Row]
    config: Row = field(default_factory=dict)
    events: list[Row] = field(default_factory=list)


def read_run(path: Path, name: str | None = None) -> Run:
    """Reads the run in a directory; it may have no log line yet.

    If a resumed run repeated a step or score, the later line counts. Damaged lines are skipped with a warning.

    Raises:
        UserError: there is no run, or a score lacks its protocol.
    """
    if not any((path / name).is_file() for name in ("metrics.jsonl", "config.yaml")):
        raise UserError(no_run(path))
    rows = read_records(path / "metrics.jsonl")
    metrics = {row["step"]: row for row in rows if "event" not in row}
    scored = read_records(path / "scores.jsonl")
    for row in scored:
        if not isinstance(row.get("protocol"), dict) or "name" not in row["protocol"]:
            raise UserError(f"{path / 'scores.jsonl'}: the score at step {row['step']} lacks its protocol; remove it")
    scores = {(row["step"], protocol_identity(row)): row for row in scored}
    config = read_config(path / "config.yaml")
    events = [row for row in rows if "event" in row]
    return Run(name or path.name, _by_step(metrics.values()), _by_step(scores.values()), config, events)


def read_config(path: Path) -> Row:
    """A run's stored configuration by dotted key, without this version's defaults; empty if there is none."""
    if not path.is_file():
        return {}
    tree = parse_yaml(read_text(path), path)
    return dict(flat(tree)) if isinstance(tree, dict) else {}


def flat(tree: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Flattens nested mappings to dotted keys."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def read_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Reads runs to compare; skips runs without a log line, with a warning. Raises `UserError` if all are skipped."""
    if not paths:
        raise UserError("no run directories given to compare")
    folders = [Path(path) for path in paths]
    names = [folder.resolve().name for folder in folders]
    runs = [
        read_run(folder, name if names.count(name) == 1 else str(folder))
        for folder, name in zip(folders, names, strict=True)
    ]
    young = [folder for folder, run in zip(folders, runs, strict=True) if not run.metrics]
    if len(young) == len(runs):
        raise UserError(f"{young[0]}: the run has no log line yet")
    if young:
        warnings.warn(f"without a log line yet: {', '.join(map(str, young))}", stacklevel=2)
    return [run for run in runs if run.metrics]


def _by_step(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["step"])


def _protocol(row: Mapping[str, Any]) -> Row:
    return {key: value for key, value in row.get("protocol", {}).items() if key not in NOT_THE_PROTOCOL}


def protocol_identity(row: Mapping[str, Any]) -> str:
    return json.dumps(_protocol(row), sort_keys=True)


def number(value: Any) -> float:
    """A finite number, or NaN for the values a diverged run writes (null, NaN, Infinity)."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def score_names(row: Row) -> list[str]:
    return [name for name in row if name != "protocol" and name not in PROGRESS]


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """A label for each protocol in use, by identity: its name, and how it differs from others of that name."""
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
    """The differences between the protocols in use, by key."""
    protocols = list(_protocols(runs).values())
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    return [key for key in keys if any(protocol.get(key) != protocols[0].get(key) for protocol in protocols)]


def _short(value: Any) -> str:
    is_digest = isinstance(value, str) and len(value) == 64
    return value[:8] if is_digest else str(value)


def score_columns(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    """(column, score, protocol identity); the column names the protocol if several were used for the score."""
    labels = _labels(runs)
    pairs = {(name, protocol_identity(row)): None for run in runs for row in run.scores for name in score_names(row)}
    names = [name for name, _ in pairs]
    return [
        (name if names.count(name) == 1 else f"{name} [{labels[identity]}]", name, identity) for name, identity in pairs
    ]


def series(run: Run, name: str, identity: str) -> list[tuple[int, float]]:
    taken = [row for row in run.scores if name in row and protocol_identity(row) == identity]
    return [(row["step"], number(row[name])) for row in taken]


def is_distance(name: str) -> bool:
    """Whether a score is a Fréchet distance, the kind of score that ranks checkpoints."""
    return name == "FID" or name.startswith("FD-")


def cost(name: str, value: float, better: Mapping[str, str] = MappingProxyType({})) -> float | None:
    """A value to minimise for finding the best score; None if the score's good direction is unknown.

    better: direction of custom metrics, from the records: score -> "lower", "higher" or "near-one".
    """
    if name in better:
        return {"lower": value, "higher": -value, "near-one": abs(value - 1)}[better[name]]
    if name.endswith(("_std", "_low", "_high")):
        return None
    if name.startswith(("FD-", "FID", "KD-", "KID", "kl", "leak_", "copies")):
        return value
    if name.startswith(("IS", "class_agreement", "modes", "precision", "recall", "density", "coverage")):
        return -value
    return abs(value - 1) if name == "diversity" else None


def last_score(path: Path) -> Row:
    """The newest record of a run's scores.jsonl; empty if there is none."""
    return next(reversed(last_rows(path / "scores.jsonl")), {})
