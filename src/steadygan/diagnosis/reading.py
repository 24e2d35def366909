"""Diagnoses run directories."""

from __future__ import annotations

from pathlib import Path

from steadygan.diagnosis import diagnose
from steadygan.diagnosis.verdict import Verdict
from steadygan.errors import UserError, no_run
from steadygan.runs.following import read_records
from steadygan.runs.reading import read_config


def diagnose_run(path: Path) -> Verdict:
    """Diagnoses a run from its config.yaml, metrics.jsonl and scores.jsonl.

    Raises UserError if there is no run; skips damaged lines with a warning.
    """
    if not any((path / name).is_file() for name in ("config.yaml", "metrics.jsonl")):
        raise UserError(no_run(path))
    rows, scores = (read_records(path / name) for name in ("metrics.jsonl", "scores.jsonl"))
    return diagnose(rows, scores, config=read_config(path / "config.yaml"))
