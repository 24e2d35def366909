"""A run, read from its directory."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from steadygan.errors import UserError
from steadygan.files import parse_yaml
from steadygan.pictures.stamp import read_stamp
from steadygan.runs.following import Follower, Row, last_rows
from steadygan.runs.requests import asked
from steadygan.runs.words import objective_in_words
from steadygan.studio.columns import Columns, is_plain
from steadygan.studio.happenings import happenings
from steadygan.studio.scores import finite, headline
from steadygan.studio.words import shown

LIVE = ("starting", "running", "paused")
STATES = (*LIVE, "finished", "stopped", "collapsed", "failed")
SILENCE = 90
"""Seconds without a heartbeat after which a running run counts as lost."""
LARGEST = 8 << 20
"""Maximum bytes of a configuration, provenance or manifest; steadygan never writes larger ones."""
SETTLED = 2.0
"""Resolution of a folder's modification time in seconds."""
NEEDED = ("manifest.json", "weights.safetensors")
"""The files that every checkpoint has."""
CHANGING = ("metrics.jsonl", "status.json", "samples", "checkpoints")
"""Entries of a run directory that change during training."""
NOWHERE = Path(os.devnull, "nowhere")
REFRESH = 10.0
"""Seconds after which a summary is renewed even if no file changed, as a heartbeat may have stopped."""


class RunFiles:
    """A run directory; re-reads only what changed. Missing or damaged parts are omitted and listed.

    Args:
        id: its id in pages.
        name: its path below the studio's directory.
        path: the directory.
        place: its path in commands; None: `path`.
    """

    def __init__(self, id: str, name: str, path: Path, place: str | None = None) -> None:
        self.id, self.name, self.path, self.place = id, name, path, place or name
        self.columns = Columns(path / "metrics.jsonl")
        self._scores = Follower(path / "scores.jsonl")
        self._score_rows: list[Row] = []
        self._score_restarts = 0
        self._kept: dict[str, tuple[Any, Any]] = {}
        self._sheets: tuple[float | None, dict[int, Path]] | None = None
        self.troubles: list[str] = []
        self._brief: tuple[Any, float, dict[str, Any]] | None = None

    def part(self, *names: str) -> Path:
        """A file or folder of the run; for a link or pipe, a path that does not exist.

        A link may point outside the run, and opening a pipe blocks.
        """
        path = self.path
        for name in names:
            path /= name
            if not is_plain(path):
                kind = "a link" if path.is_symlink() else "no file"
                self._trouble(f"{path.relative_to(self.path)} is {kind} and is not read")
                return NOWHERE
        return path

    def _cached(self, names: tuple[str, ...], read: Any, fallback: Any) -> Any:
        """Calls `read(path)` once per version of the file; on failure returns the fallback and adds to `troubles`."""
        path = self.part(*names)
        try:
            status = path.stat()
        except OSError:
            return fallback
        version = (status.st_mtime_ns, status.st_size, status.st_ino)
        key = str(path)
        if key not in self._kept or self._kept[key][0] != version:
            value: Any
            if status.st_size > LARGEST:
                value = ValueError("larger than steadygan writes")
            else:
                try:
                    value = read(path)
                except (OSError, ValueError, UserError, RecursionError) as error:
                    value = error
            self._kept[key] = (version, value)
        value = self._kept[key][1]
        if isinstance(value, Exception):
            reason = str(value).splitlines()[0] if str(value) else type(value).__name__
            self._trouble(f"{path.relative_to(self.path)} cannot be read: {reason}"[:300])
            return fallback
        return value

    def _trouble(self, text: str) -> None:
        if text not in self.troubles:
            self.troubles.append(text)

    @property
    def config(self) -> dict[str, Any]:
        """The stored configuration, without this version's defaults."""
        return self._cached(("config.yaml",), _read_yaml, {})

    @property
    def provenance(self) -> dict[str, Any]:
        return self._cached(("provenance.json",), _read_json, {})

    @property
    def status(self) -> dict[str, Any]:
        return self._cached(("status.json",), _read_json, {})

    @property
    def scores(self) -> list[Row]:
        """The rows of scores.jsonl with a protocol, by step."""
        for rows in self._scores.parts() if self.part("scores.jsonl") == self._scores.path else ():
            if self._scores.restarts != self._score_restarts:
                self._score_restarts, self._score_rows = self._scores.restarts, []
            self._score_rows += [row for row in rows if isinstance(row.get("protocol"), dict)]
        return sorted(self._score_rows, key=lambda row: row["step"])

    @property
    def sheets(self) -> dict[int, Path]:
        """The grids of samples by step."""
        folder = self.part("samples")
        changed = _newest(folder) or 0.0
        # A file may be added within the resolution of the folder's time: cache only older listings.
        if self._sheets is None or self._sheets[0] != changed:
            known, old = _by_step(folder, r"step-(\d{1,15})\.png"), time.time() - changed > SETTLED
            self._sheets = (changed if old else None, known)
        return self._sheets[1]

    @property
    def checkpoints(self) -> dict[int, Path]:
        """The checkpoints by step, oldest first."""
        found = _by_step(self.part("checkpoints"), r"step-(\d{8,15})")
        return {step: path for step, path in found.items() if all(map(_is_plain_file, (path / n for n in NEEDED)))}

    @property
    def best_step(self) -> int | None:
        text = self._cached(("checkpoints", "best"), _read_text, "")
        match = re.fullmatch(r"step-(\d{8,15})\s*", text)
        return int(match[1]) if match else None

    def manifest(self, step: int) -> dict[str, Any]:
        """A checkpoint's manifest."""
        path = self.checkpoints.get(step)
        return {} if path is None else self._cached(("checkpoints", path.name, "manifest.json"), _read_json, {})

    def layout(self) -> dict[str, Any]:
        """Layout of this run's grids: side and gap of tiles in pixels; side 0 if unknown."""
        return {"side": 0 if self.translates() else self._size(), "gap": 2}

    def _size(self) -> int:
        """The side of the run's images in pixels; 0 if unknown."""
        size = _at(self.config, "data", "size")
        return size if type(size) is int and 0 < size <= 4096 else 0

    def column_names(self) -> list[str]:
        """The classes of the newest grid's columns, from its stamp; empty if unknown."""
        newest = max(self.sheets.items(), default=None)
        if newest is None:
            return []
        key = f"{newest[1]} names"
        if key not in self._kept or self._kept[key][0] != _version(newest[1]):
            try:
                names = list(map(shown, read_stamp(newest[1]).column_names))
            except UserError:
                names = []
            self._kept[key] = (_version(newest[1]), names)
        return self._kept[key][1]

    def translates(self) -> bool:
        return _at(self.config, "data", "domains") is not None

    def state(self) -> dict[str, Any]:
        """State (one of STATES, `lost` or `unknown`) and message; for older runs without status.json, inferred from
        records."""
        status = self.status
        state = status.get("state")
        if state in STATES:
            message = status.get("message") if isinstance(status.get("message"), str) else ""
            if state in LIVE and self._silent(status):
                return {
                    "state": "lost",
                    "message": message or "no heartbeat: the process was killed, or its host is down",
                }
            return {"state": state, "message": message}
        last = last_rows(self.part("metrics.jsonl"))
        steps, step = self._steps(), last[-1]["step"] if last else 0
        if steps and step >= steps:
            return {"state": "finished", "message": ""}
        if last and last[-1].get("event") == "collapse":
            return {"state": "collapsed", "message": str(last[-1].get("symptom", ""))}
        newest = _newest(self.path / "metrics.jsonl")
        if newest and time.time() - newest < SILENCE:
            return {"state": "running", "message": ""}
        return {"state": "stopped" if last else "unknown", "message": ""}

    def _silent(self, status: dict[str, Any]) -> bool:
        beat = status.get("heartbeat")
        silent = isinstance(beat, int | float) and time.time() - beat > SILENCE
        pid = status.get("pid")
        if not silent and status.get("host") == socket.gethostname() and type(pid) is int and pid > 0:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
            except OSError:
                return False
        return silent

    def _steps(self) -> int | None:
        for steps in (self.status.get("steps"), _at(self.config, "train", "steps")):
            if type(steps) is int and steps > 0:
                return steps
        return None

    @property
    def hours(self) -> float | None:
        """The run's time budget, `train.hours`."""
        given = _at(self.config, "train", "hours")
        return float(given) if finite(given) and given > 0 else None

    def _ends(self, step: int, steps: int | None, spent: Any, each: float | None) -> list[tuple[float, float]]:
        """For both limits of the run, steps and hours: the fraction done, and the seconds left."""
        ends = []
        if steps:
            ends.append((min(1.0, step / steps), max(0, steps - step) * each if each else math.inf))
        if self.hours is not None and finite(spent):
            ends.append((min(1.0, spent / self.hours / 3600), max(0.0, 3600 * self.hours - spent)))
        return ends

    def summary(self) -> dict[str, Any]:
        """The data for the list of runs."""
        rows = [row for row in last_rows(self.part("metrics.jsonl"), 3) if "event" not in row]
        row = rows[-1] if rows else {}
        scores, sheets, steps = self.scores, self.sheets, self._steps()
        step = max([number for number in (row.get("step"), self.status.get("step")) if type(number) is int], default=0)
        speed, state = row.get("images_per_s"), self.state()
        each = None
        if step and isinstance(speed, int | float) and speed > 0 and isinstance(row.get("images"), int):
            each = row["images"] / max(row["step"], 1) / speed
        ends = self._ends(step, steps, row.get("spent"), each)
        last_sheet = max(sheets, default=None)
        started = _when(self.provenance.get("started")) or _newest(self.path / "config.yaml") or 0
        return {
            "id": self.id,
            "name": shown(self.name),
            "place": self.place,
            **state,
            "step": step,
            "steps": steps if self.hours is None else None,
            "hours": self.hours,
            "progress": 1.0 if state["state"] == "finished" else max((done for done, _ in ends), default=None),
            "images_per_s": speed if finite(speed) else None,
            "seconds_a_step": each if finite(each) else None,
            "seconds_left": min((left for _, left in ends if finite(left)), default=None),
            "started": started,
            "changed": max(_newest(self.path / name) or 0 for name in CHANGING),
            "score": headline(scores),
            "sheet": None if last_sheet is None else {"step": last_sheet, "version": _version(sheets[last_sheet])},
            "sheets": len(sheets),
            "objective": objective_in_words(self.config),
            "size": self._size(),
            "translates": self.translates(),
            "request": asked(self.path) if self.part("request.json") != NOWHERE else None,
        }

    def brief(self) -> dict[str, Any]:
        """The summary; renewed if the directory changed, and every few seconds for time-dependent values."""
        names = (*CHANGING, "scores.jsonl", "config.yaml", "request.json")
        seen = tuple(_newest(self.path / name) for name in names)
        if self._brief is None or self._brief[0] != seen or time.monotonic() - self._brief[1] > REFRESH:
            self._brief = seen, time.monotonic(), self.summary()
        return self._brief[2]

    def detail(self) -> dict[str, Any]:
        """The data for the pages of one run."""
        self.troubles = []
        self.columns.refresh()
        best, checkpoints = self.best_step, []
        for step in self.checkpoints:
            manifest = self.manifest(step)
            generator = manifest.get("generator")
            digests = manifest.get("sha256")
            checkpoints.append(
                {
                    "step": step,
                    "best": step == best,
                    "sha256": digests.get("weights.safetensors") if isinstance(digests, dict) else None,
                    "generator": generator if isinstance(generator, dict) else None,
                }
            )
        for name in (*CHANGING, "scores.jsonl"):
            path = self.part(name)
            if path != NOWHERE and path.exists() and not os.access(path, os.R_OK):
                self._trouble(f"{name} may not be read: its permissions do not allow it")
        scores = self.scores
        for name, damaged in (("metrics.jsonl", self.columns.damaged), ("scores.jsonl", self._scores.damaged)):
            if damaged:
                lines = "a damaged line" if damaged == 1 else f"{damaged} damaged lines"
                self._trouble(f"{lines} of {name}")
        sheets = self.sheets
        return {
            **self.summary(),
            "config": self.config,
            "provenance": self.provenance,
            "layout": self.layout(),
            "column_names": self.column_names(),
            "steps_of_sheets": list(sheets),
            "checkpoints": checkpoints,
            "scores": scores,
            "columns": self.columns.names,
            "span": self.columns.span,
            "events": happenings(self.columns.events, self.provenance, self.config, (self.columns.span or (0, 0))[1]),
            "exact": self.columns.exact,
            "version": self.columns.version,
            "troubles": self.troubles,
            "checkpoint_every": _at(self.config, "train", "checkpoint_every"),
        }


def _read_json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _read_yaml(path: Path) -> dict[str, Any]:
    found = parse_yaml(path.read_text(encoding="utf-8"), path)
    if not isinstance(found, dict):
        raise ValueError("not a mapping")
    return json.loads(json.dumps(found, default=str))


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _newest(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _version(path: Path) -> int:
    return int((_newest(path) or 0) * 1000)


def _when(text: Any) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _by_step(folder: Path, pattern: str) -> dict[int, Path]:
    """Files and folders whose names match a pattern, by their number; skips links and pipes."""
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                match = re.fullmatch(pattern, entry.name)
                if match and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                    found[int(match[1])] = Path(entry.path)
    except OSError:
        return {}
    return dict(sorted(found.items()))
