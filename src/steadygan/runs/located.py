"""Where the images of a run are, seen from another directory than it was started in, or after they moved."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from steadygan import config as configuration
from steadygan.config import Config
from steadygan.data.containers.registry import is_name
from steadygan.errors import UserError
from steadygan.runs.provenance import read_provenance


def load_located(run: Path, overrides: Sequence[str] = (), *, data: str | Path | None = None) -> Config:
    """The configuration of a run, whose `data.path` leads to its images from here.

    Where nothing is there by a path that is written relative to a directory, what it meant when the run was started is
    taken. That the images are the same is not checked here (`check_same_data`).

    Args:
        run: the run directory.
        overrides: of its configuration, as `key=value`.
        data: where the images are now (`--data`), before all else.

    Raises:
        UserError: there is nothing at any of these places.
    """
    config = configuration.load(run, overrides)
    if data is not None:
        return _with_path(config, str(data))
    here = config.data.path
    if is_name(here) or _exists(here) or any(override.startswith("data.path=") for override in overrides):
        return config
    facts = read_provenance(run).get("data")
    there = facts.get("path") if isinstance(facts, dict) else None
    if isinstance(there, str) and _exists(there):
        return _with_path(config, there)
    places = here if there in (None, here) else f"{here} and {there}"
    raise UserError(
        f"the images of {run} are no longer at {places}: say where they are, with --data PATH, or to resume with "
        "data.path=PATH"
    )


def _exists(path: str) -> bool:
    place = Path(path).expanduser()
    return place.exists() or (glob.has_magic(path) and bool(glob.glob(str(place), recursive=True)))


def _with_path(config: Config, path: str) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})
