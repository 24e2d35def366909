"""Finds the images of a run from another working directory, or after they moved."""

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
    """Loads the configuration of a run with a `data.path` that is valid in this working directory.

    A relative path that does not exist here is resolved against the directory in which the run was started.
    `check_same_data` verifies that the images are the same.

    Args:
        run: the run directory.
        overrides: settings as `key=value` strings.
        data: the images' current path (`--data`); takes precedence.

    Raises:
        UserError: none of these paths exists.
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
        f"the images of {run} are no longer at {places}: give their new place with --data PATH, or to resume with "
        "data.path=PATH"
    )


def _exists(path: str) -> bool:
    place = Path(path).expanduser()
    return place.exists() or (glob.has_magic(path) and bool(glob.glob(str(place), recursive=True)))


def _with_path(config: Config, path: str) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})
