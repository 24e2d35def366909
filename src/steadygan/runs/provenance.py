"""Provenance of a run: versions, machine, seed, configuration, data fingerprint, and each resume."""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from steadygan._version import __version__
from steadygan.errors import UserError
from steadygan.files import read_json, read_text
from steadygan.runs.reading import flat, read_config

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "pydantic")
NAMED = 5
"""Maximum number of differing settings named in an error."""
FIXED = tuple(f"data.{key}" for key in ("size", "channels", "bits", "fraction", "max_images", "seed", "heldout"))
FIXED += tuple(f"data.{key}" for key in ("domains", "fit", "jitter"))
FIXED += tuple(f"model.{key}" for key in ("kind", "width", "latent", "prior", "conditional", "directions"))
"""Settings that cannot change on resume."""

SCHEMA = 1


def config_digest(config_yaml: str) -> str:
    """The SHA-256 of a resolved configuration as written to config.yaml."""
    return hashlib.sha256(config_yaml.encode()).hexdigest()


def circumstances(device: torch.device, processes: int, execution: str) -> dict[str, Any]:
    """The machine and software of a run, which may change at each resume.

    Args:
        device: the device that trains.
        processes: number of training processes.
        execution: description of the execution mode: precision, compiled kernels, graphs.
    """
    return {
        "started": _now(),
        "versions": {"python": platform.python_version(), "steadygan": __version__, **_versions()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device} ({platform.machine()})",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "execution": execution,
    }


def provenance(
    *, seed: int, config_yaml: str, data: Mapping[str, Any], circumstances: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of provenance.json at a run's start.

    Args:
        seed: `train.seed`.
        config_yaml: the resolved configuration.
        data: path, fingerprint, number of images trained on and held out, skipped files.
        circumstances: what `circumstances` returned.
    """
    return {
        "schema": SCHEMA,
        **circumstances,
        "seed": seed,
        "config_sha256": config_digest(config_yaml),
        "config": yaml.safe_load(config_yaml),
        "data": dict(data),
    }


def resumed(
    before: Mapping[str, Any],
    *,
    step: int,
    config_yaml: str,
    overrides: Sequence[str],
    circumstances: Mapping[str, Any],
) -> dict[str, Any]:
    """provenance.json of a resumed run: the previous content with a new entry in `resumes`.

    `config` and `config_sha256` describe the new configuration; each entry lists the settings it changed under
    `changed`: `key: [before, after]`.

    Args:
        before: the previous content.
        step: at which the run resumes.
        config_yaml: the new configuration.
        overrides: the settings given at the resume, as `key=value`.
        circumstances: what `circumstances` returned.
    """
    now = dict(flat(yaml.safe_load(config_yaml)))
    entry = {
        **circumstances,
        "step": step,
        "overrides": list(overrides),
        "config_sha256": config_digest(config_yaml),
        "config_sha256_before": before.get("config_sha256"),
        "changed": _changes(_recorded(before), now) if _recorded(before) else {},
    }
    return {
        **before,
        "schema": SCHEMA,
        "config_sha256": entry["config_sha256"],
        "config": yaml.safe_load(config_yaml),
        "resumes": [*_resumes(before), entry],
    }


def branched(before: Mapping[str, Any], config_yaml: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """provenance.json of a run branched from another run's checkpoint; `before` is that run's provenance."""
    config = {"config_sha256": config_digest(config_yaml), "config": yaml.safe_load(config_yaml)}
    source = {**source, "started": before.get("started")}
    return {**before, "schema": SCHEMA, "started": _now(), **config, "branched_from": source}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def changed_circumstances(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Known differences that may make a resumed run round differently from an uninterrupted one."""
    last = _resumes(before)[-1] if _resumes(before) else before
    compared = {key: (last.get(key), now[key]) for key in ("device", "processes", "threads", "execution")}
    versions = last.get("versions")
    if isinstance(versions, dict):
        compared["torch"] = (versions.get("torch"), now["versions"]["torch"])
    said = [f"{name}: {was}, now {is_now}" for name, (was, is_now) in compared.items() if was not in (None, is_now)]
    return "; ".join(said)


def read_provenance(path: Path) -> dict[str, Any]:
    """Reads provenance.json of the run in `path`. Raises `UserError` if it is missing or damaged."""
    try:
        return read_json(path / "provenance.json")
    except UserError as error:
        raise UserError(f"{error}; without it the data cannot be checked") from None


def check_config(path: Path) -> None:
    """Checks that config.yaml is the one that the run in `path` was last trained with.

    Raises:
        UserError: it was truncated or edited; the message names the settings that differ, if known.
    """
    file = path / "config.yaml"
    before = read_provenance(path)
    recorded = {before.get("config_sha256")}
    if resumes := _resumes(before):  # a kill during a resume may have left the previous one
        recorded.add(resumes[-1].get("config_sha256_before"))
    if config_digest(read_text(file)) in recorded:
        return
    known = _recorded(before)
    differing = [f"{key} is {now!r}, was {was!r}" for key, (was, now) in _changes(known, read_config(file)).items()]
    named = ""
    if known and differing:
        named = (
            ": " + "; ".join(differing[:NAMED]) + (f"; and {len(differing) - NAMED} more" * (len(differing) > NAMED))
        )
    raise UserError(
        f"{file} is not what the run was last trained with (its SHA-256 is not that of provenance.json){named}. To "
        "change settings, put it back and give them as key.path=value; to train with the file as it is, add "
        "--accept-config"
    )


def check_unchanged(path: Path, config_yaml: str) -> None:
    """Checks that settings do not change the images or networks of the run in `path`.

    Raises:
        UserError: they do; the message names them with their previous values.
    """
    known = _recorded(read_provenance(path))
    now = dict(flat(yaml.safe_load(config_yaml)))
    changed = [
        f"{key} is {now.get(key)!r}, was {value!r}"
        for key, value in known.items()
        if key in FIXED and key in now and now[key] != value
    ]
    if changed:
        raise UserError(
            f"{path} cannot be resumed with other images or networks than it was trained with: {'; '.join(changed)}. "
            "Leave these as they are, or start a new run with --out"
        )


def _recorded(before: Mapping[str, Any]) -> dict[str, Any]:
    config = before.get("config")
    return dict(flat(config)) if isinstance(config, dict) else {}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    keys = dict.fromkeys([*before, *after])
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}


def _resumes(before: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = before.get("resumes")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. torch installed as a Linux distribution's package
            found[name] = "unknown"
    return found


def check_same_data(path: Path, fingerprint: str) -> None:
    """Checks that the training images are the ones that the run in `path` started with.

    Raises:
        UserError: the content differs, or provenance.json is missing or damaged.
    """
    data = read_provenance(path).get("data")
    before = data.get("fingerprint") if isinstance(data, dict) else None
    if before is None:
        raise UserError(f"{path / 'provenance.json'}: damaged: it has no data.fingerprint; the data cannot be checked")
    if before != fingerprint:
        raise UserError(
            f"the training images are not the ones {path} was started with (their content differs); "
            "point data.path to those, or start a new run with --out"
        )
