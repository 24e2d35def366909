"""Short descriptions of configurations."""

from __future__ import annotations

from typing import Any

TERMS = {
    "cr": "CR",
    "bcr": "bCR",
    "zcr": "zCR",
    "r1": "R1",
    "r2": "R2",
    "gp": "gradient penalty",
    "dragan": "DRAGAN",
    "lecam": "LeCam",
    "ortho": "orthogonal",
    "path_length": "path length",
    "jsreg": "JS-Reg",
    "logan": "LOGAN",
    "unet": "U-Net",
    "cutmix": "CutMix",
    "two_scales": "two scales",
}


def objective_in_words(config: dict[str, Any]) -> str:
    """`dcgan 32² · hinge + bCR + zCR · DiffAugment (color, translation)`; empty for an empty configuration."""
    model, data = _section(config, "model"), _section(config, "data")
    objective, augment = _section(config, "objective"), _section(config, "augment")
    parts = []
    if kind := model.get("kind"):
        size = f" {data['size']}²" if isinstance(data.get("size"), int) else ""
        parts.append(f"{kind}{size}" + (", by class" if model.get("conditional") is True else ""))
    if loss := objective.get("loss"):
        terms = [TERMS.get(str(name), str(name)) for name in _section(objective, "terms")]
        parts.append(" + ".join([str(loss), *terms]))
    if isinstance(features := model.get("features"), str):
        parts.append(f"D on {features} features too")
    policy = _section(augment, "diffaugment").get("policy")
    if isinstance(policy, list) and policy:
        parts.append(f"DiffAugment ({', '.join(map(str, policy))})")
    parts += [name.upper() for name in ("ada", "apa") if isinstance(augment.get(name), dict)]
    return " · ".join(parts)


def _section(tree: dict[str, Any], key: str) -> dict[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}
