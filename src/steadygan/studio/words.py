"""Configurations and scores in words, for people who look at many runs."""

from __future__ import annotations

import json
from typing import Any

PROGRESS = {"step", "images", "seconds", "images_per_s", "eval_seconds", "protocol"}
NOT_THE_PROTOCOL = {"steadygan", "torch", "data_fingerprint"}
TERMS = {
    "cr": "CR",
    "bcr": "bCR",
    "zcr": "zCR",
    "r1": "R1",
    "gp": "gradient penalty",
    "dragan": "DRAGAN",
    "lecam": "LeCam",
    "ortho": "orthogonal",
    "pathlength": "path length",
}


def objective_in_words(config: dict[str, Any]) -> str:
    """`dcgan 32² · hinge + bCR + zCR · DiffAugment (color, translation)`; empty where a configuration says nothing."""
    model, data = _section(config, "model"), _section(config, "data")
    objective, augment = _section(config, "objective"), _section(config, "augment")
    parts = []
    if kind := model.get("kind"):
        size = f" {data['size']}²" if isinstance(data.get("size"), int) else ""
        parts.append(f"{kind}{size}" + (", by class" if model.get("conditional") is True else ""))
    if loss := objective.get("loss"):
        terms = [TERMS.get(str(name), str(name)) for name in _section(objective, "terms")]
        parts.append(" + ".join([str(loss), *terms]))
    policy = _section(augment, "diffaugment").get("policy")
    if isinstance(policy, list) and policy:
        parts.append(f"DiffAugment ({', '.join(map(str, policy))})")
    return " · ".join(parts)


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def score_names(row: dict[str, Any]) -> list[str]:
    """The scores of a record, the headline first."""
    return [name for name, value in row.items() if name not in PROGRESS and isinstance(value, int | float)]


def protocol_identity(row: dict[str, Any]) -> str:
    """Equal for scores that may be compared."""
    protocol = row.get("protocol")
    kept = {key: value for key, value in (protocol or {}).items() if key not in NOT_THE_PROTOCOL}
    return json.dumps(kept, sort_keys=True, default=str)


def lower_is_better(name: str) -> bool | None:
    """None for a score whose good direction is not known."""
    if name.endswith("_std"):
        return None
    if name.startswith(("FD-", "FID", "KD-", "KID", "kl", "l1", "lpips")):
        return True
    if name.startswith(
        ("IS", "class_agreement", "modes", "precision", "recall", "density", "coverage", "ssim", "psnr")
    ):
        return False
    return None


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
