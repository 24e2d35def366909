"""Where a run comes from: versions, machine, seed and the content of its data."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from steadygan._version import __version__
from steadygan.errors import UserError

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "pydantic")


def provenance(
    *, seed: int, config_sha256: str, data: Mapping[str, Any], device: torch.device, processes: int = 1
) -> dict[str, Any]:
    """The content of provenance.json.

    Args:
        seed: `train.seed`.
        config_sha256: of the resolved configuration's YAML.
        data: path, fingerprint, number of images trained on and held out, skipped files.
        device: what the run trains on.
        processes: how many train together.
    """
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "steadygan": __version__, **_versions()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device} ({platform.machine()})",
        "processes": processes,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "config_sha256": config_sha256,
        "data": dict(data),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. torch as a distribution's own package
            found[name] = "unknown"
    return found


def check_same_data(path: Path, fingerprint: str) -> None:
    """Refuses to resume or score the run in `path` with other training images than it started with.

    Raises:
        UserError: their content differs, or provenance.json is missing or damaged.
    """
    try:
        before = json.loads((path / "provenance.json").read_text(encoding="utf-8"))["data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / 'provenance.json'}: missing or damaged; the data cannot be checked") from error
    if before != fingerprint:
        raise UserError(
            f"the training images are not the ones {path} was started with (their content differs); "
            "point data.path to those, or start a new run with --out"
        )
