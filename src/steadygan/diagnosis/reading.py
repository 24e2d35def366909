"""From a run directory to its verdict."""

from __future__ import annotations

from pathlib import Path

from steadygan.diagnosis import diagnose
from steadygan.diagnosis.verdict import Verdict
from steadygan.errors import UserError
from steadygan.runs.reading import read_config, read_lines


def diagnose_run(path: Path) -> Verdict:
    """The verdict on the run in a directory, from config.yaml, metrics.jsonl and scores.jsonl alone.

    Raises UserError where there is no run, or where a line in its records is damaged.
    """
    if not (path / "metrics.jsonl").is_file():
        raise UserError(f"{path} is not a run directory: it has no metrics.jsonl")
    rows = read_lines(path / "metrics.jsonl")
    scores = read_lines(path / "scores.jsonl") if (path / "scores.jsonl").is_file() else []
    return diagnose(rows, scores, config=read_config(path / "config.yaml"))
