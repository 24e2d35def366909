"""Sends new records of a run to a tracker, each line once, across resumes."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from steadygan.errors import UserError
from steadygan.files import lock, parse_yaml, read_json, read_text, write_text
from steadygan.runs.following import Follower, Row
from steadygan.runs.reading import number, protocol_identity, score_names
from steadygan.trackers.clients import Open, Tracker

SCHEMA = 1


class Reporter:
    """Sends the lines of one run to one tracker.

    `tracker-NAME.json` in the run directory records what was sent and the run's identity at the tracker. After a resume
    or rollback, a tracker that supports `rewind` gets the repeated steps; any other keeps its earlier values and
    continues after them.

    Holds a lock, so that only one process reports a run to a tracker.
    """

    def __init__(self, run: Path, name: str, open_tracker: Open) -> None:
        """Opens the tracker.

        Raises:
            UserError: another process reports this run to it.
        """
        self.run, self.name = run, name
        file = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
        self._lock = lock(run / f".tracker-{file}.lock")
        if self._lock is None:
            raise UserError(f"{run}: another process reports this run to {name}")
        self._memory = run / f"tracker-{file}.json"
        self._remembered = self._recall()
        self._metrics, self._scores = Follower(run / "metrics.jsonl"), Follower(run / "scores.jsonl")
        self._folder: int | None = None
        try:
            self._tracker: Tracker = open_tracker(run, self._remembered["id"], _configuration(run))
            self._keep()
        except BaseException:
            self._lock.release()
            raise

    def _recall(self) -> dict[str, Any]:
        """Restores the steps of the last line and grid, scores by key, rollbacks, and the identity."""
        fresh = {"schema": SCHEMA, "id": secrets.token_hex(4), "line": -1, "grid": -1, "scores": {}, "rollbacks": 0}
        with suppress(UserError):
            found = read_json(self._memory)
            if found.keys() == fresh.keys() and all(type(found[key]) is type(fresh[key]) for key in fresh):
                return found
        return fresh

    def _keep(self) -> None:
        write_text(self._memory, json.dumps(self._remembered) + "\n", durable=False)

    def rewind(self, step: int) -> None:
        """Handles a rollback to this step."""
        kept = self._remembered
        if max(kept["line"], kept["grid"], *kept["scores"].values(), -1) <= step or not self._tracker.rewind(step):
            return
        kept["line"], kept["grid"] = min(kept["line"], step), min(kept["grid"], step)
        kept["scores"] = {key: taken for key, taken in kept["scores"].items() if taken <= step}
        self._folder = None
        self._keep()

    def send(self) -> None:
        """Sends everything new. Exceptions of the tracker's library propagate."""
        before = json.dumps(self._remembered)
        try:
            for rows in self._metrics.parts():
                for row in rows:
                    self._line(row)
            for row in self._scores.read():
                self._score(row)
            self._grids()
            if json.dumps(self._remembered) != before:
                self._tracker.flush()
        finally:
            if json.dumps(self._remembered) != before:
                self._keep()

    def _line(self, row: Row) -> None:
        kept = self._remembered
        if row.get("event") == "rollback" and type(row.get("number")) is int and row["number"] > kept["rollbacks"]:
            self.rewind(row["step"])
            kept["rollbacks"] = row["number"]
        elif "event" not in row and row["step"] > kept["line"]:
            self._tracker.scalars(row["step"], numbers(row))
            kept["line"] = row["step"]

    def _score(self, row: Row) -> None:
        """A score's name includes its protocol: name and a hash of everything that affects comparability."""
        if not isinstance(row.get("protocol"), dict):
            return
        identity = protocol_identity(row)
        label = f"{row['protocol'].get('name', 'protocol')}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
        values = numbers({name: row[name] for name in score_names(row)})
        key, known = f"{row['step']} {label} {' '.join(sorted(values))}", self._remembered["scores"]
        if key in known:
            return
        if not any(f" {label} " in other for other in known):
            self._tracker.facts(f"protocols/{label}", json.loads(identity))
        self._tracker.scalars(row["step"], {f"scores/{name}/{label}": value for name, value in values.items()})
        known[key] = row["step"]

    def _grids(self) -> None:
        folder = self.run / "samples"
        with suppress(OSError):
            changed = folder.stat().st_mtime_ns
            if changed == self._folder:
                return
            found = {int(match[1]): path for path in folder.iterdir() if (match := _GRID.fullmatch(path.name))}
            for step in sorted(step for step in found if step > self._remembered["grid"]):
                self._tracker.image(step, "samples", found[step])
                self._remembered["grid"] = step
            self._folder = changed

    def close(self) -> None:
        """Closes the tracker and releases the lock."""
        assert self._lock is not None
        try:
            self._tracker.close()
        finally:
            self._lock.release()


_GRID = re.compile(r"step-(\d{1,15})\.png")


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record, without its step."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "step" and not isinstance(value, bool) and number(value) == number(value)
    }


def _configuration(run: Path) -> dict[str, Any]:
    """The content of config.yaml, nested; empty if it cannot be read."""
    try:
        found = parse_yaml(read_text(run / "config.yaml"), run / "config.yaml")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
