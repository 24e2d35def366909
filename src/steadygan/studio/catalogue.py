"""The table of runs below one directory, the only mapping from a page's ids to files."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from steadygan.studio.run import RunFiles

DEPTH = 4
"""Maximum depth of the search for runs."""
MOST = 5000
INSIDE_A_RUN = {"samples", "checkpoints"}


class Catalogue:
    """Runs by id. Symbolic links are not followed, so that nothing outside the directory is listed.

    unread: relative paths of folders without read permission.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._runs: dict[str, RunFiles] = {}
        self._lock = threading.Lock()
        self._scanned = 0.0
        self.unread: list[str] = []

    def scan(self, *, at_most_every: float = 0.0) -> None:
        """Finds new runs, and drops deleted ones."""
        with self._lock:
            if at_most_every and time.monotonic() - self._scanned < at_most_every:
                return
            found: dict[str, RunFiles] = {}
            unread: list[Path] = []
            for path in find_runs(self.root, unread=unread):
                name = self.root.name if path == self.root else path.relative_to(self.root).as_posix()
                id = id_of(path)
                place = name if path == self.root else f"{self.root.name}/{name}"
                found[id] = self._runs.get(id) or RunFiles(id, name, path, place)
            self._runs = found
            self.unread = sorted(path.relative_to(self.root).as_posix() for path in unread)
            self._scanned = time.monotonic()

    def all(self) -> list[RunFiles]:
        return list(self._runs.values())

    def get(self, id: str) -> RunFiles | None:
        """The run of this id; rescans once if it is unknown."""
        if id not in self._runs:
            self.scan(at_most_every=1.0)
        return self._runs.get(id)

    def holding(self, checkpoint: str) -> tuple[RunFiles, int] | None:
        """The run and step of the weights with this SHA-256."""
        for run in self.all():
            for step in run.checkpoints:
                digests = run.manifest(step).get("sha256")
                if isinstance(digests, dict) and digests.get("weights.safetensors") == checkpoint:
                    return run, step
        return None


def id_of(path: Path) -> str:
    """The id of a run directory in pages; unique below one root."""
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def find_runs(root: Path, depth: int = DEPTH, *, unread: list[Path] | None = None) -> Iterator[Path]:
    """Directories that hold a run (`config.yaml` with records, samples or checkpoints), `root` itself included.

    Adds folders without read permission to `unread`.
    """
    left, pending = MOST, [(root, depth)]
    while pending and left:
        folder, below = pending.pop()
        try:
            with os.scandir(folder) as entries:
                inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError as error:
            if unread is not None and isinstance(error, PermissionError):
                unread.append(folder)
            continue
        if "config.yaml" in inside and {"metrics.jsonl", "samples", "checkpoints", "status.json"} & inside.keys():
            left -= 1
            yield folder
            continue
        if below:
            pending += [
                (folder / name, below - 1)
                for name, is_folder in sorted(inside.items())
                if is_folder and not name.startswith(".")
            ]
