"""Branching: a new run that starts from a checkpoint of another run, with changed settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from steadygan.errors import UserError
from steadygan.files import whole_directory
from steadygan.runs.checkpoint import checkpoints
from steadygan.runs.following import Follower, write_record
from steadygan.runs.located import load_located
from steadygan.runs.provenance import branched, read_provenance

_RECORDS = ("metrics.jsonl", "scores.jsonl")


def branch(run: Path, out: Path, *, step: int | None = None, overrides: Sequence[str] = ()) -> int:
    """Creates a run from another run's checkpoint; `steadygan train OUT --resume` continues it.

    The new run gets the old configuration with `overrides`, the records and samples up to that step, and a copy of the
    checkpoint. Its provenance names the source. The old run is not changed.

    Args:
        run: the run directory to start from.
        out: the new run directory.
        step: the checkpoint's step; None: the newest checkpoint.
        overrides: settings as `key.path=value` strings.

    Returns:
        The step at which the new run starts.

    Raises:
        UserError: there is no such checkpoint, the configuration is invalid, or `out` exists.
    """
    known = {int(path.name[5:]): path for path in checkpoints(run / "checkpoints")}
    if not known:
        raise UserError(f"{run} has no checkpoint to branch from")
    at = max(known) if step is None else step
    if at not in known:
        raise UserError(f"{run} has no checkpoint of step {at}; it has those of {', '.join(map(str, sorted(known)))}")
    if out.exists():
        raise UserError(f"{out} exists already; choose another directory with --out")
    config = load_located(run, [*overrides, f"name={out.resolve().name}"])
    if config.train.steps <= at:
        raise UserError(f"train.steps={config.train.steps} is already reached at step {at}; raise train.steps")
    source = {"run": str(run.resolve()), "step": at, "overrides": list(overrides)}
    origin = branched(read_provenance(run), config.to_yaml(), source)
    with whole_directory(out) as folder:
        (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        (folder / "provenance.json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        for name in _RECORDS:
            rows = [row for row in Follower(run / name).read() if row["step"] <= at]
            (folder / name).write_bytes(b"".join(map(write_record, rows)))
        (folder / "samples").mkdir()
        for sheet in sorted((run / "samples").glob("step-*.png")):
            number = sheet.stem.removeprefix("step-")
            if number.isdecimal() and int(number) <= at:
                shutil.copyfile(sheet, folder / "samples" / sheet.name)
        shutil.copytree(known[at], folder / "checkpoints" / known[at].name)
    return at
