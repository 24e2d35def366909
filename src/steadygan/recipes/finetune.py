"""`steadygan train FOLDER train.init_from=SOURCE`: fine-tuning with the source's network."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from steadygan import config as configuration
from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.files import parse_yaml, read_text
from steadygan.importing.finetune import configuration as usual
from steadygan.importing.opening import as_checkpoint
from steadygan.recipes.choose import own_name
from steadygan.runs.checkpoint import find_checkpoint, read_manifest
from steadygan.runs.outputs import run_of

STEPS = 10_000
NOT_KEPT = ("path", "root", "fraction", "max_images", "seed")
"""Keys of a source run's data section that are specific to its images."""


def fine_tuning(images: str, source: str, overrides: Sequence[str]) -> Config:
    """A configuration that fine-tunes the networks of `source` on images.

    For a run's checkpoint, model, objective, augmentation and optimisers are the run's. For an imported or shared
    model, the network comes from its manifest, and the rest is common for its family. Overrides come last; they may
    change size or classes if `training.grafting` supports it.

    Args:
        images: any `data.path`.
        overrides: `key.path=value`, `train.init_from` among them.

    Raises:
        UserError: there is no source, or the overrides do not fit.
    """
    checkpoint = find_checkpoint(as_checkpoint(Path(source).expanduser()))
    manifest = read_manifest(checkpoint, ())
    run = run_of(checkpoint)
    tree = _of_run(run) if run is not None else usual(manifest["generator"], manifest.get("critic"), Path(source))
    made = manifest["generator"]
    tree["name"] = f"{own_name(images)}-finetune"
    tree["data"] = {**tree.get("data", {}), "path": images, "size": made["size"], "channels": made["channels"]}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "finetune.yaml"
        file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
        return configuration.load(file, overrides)


def _of_run(run: Path) -> dict[str, Any]:
    """A run's configuration without its images, its length and its initial weights."""
    file = run / "config.yaml"
    tree = parse_yaml(read_text(file), file)
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key, {}), dict) for key in ("data", "train")):
        raise UserError(f"{file}: damaged: no sections data and train; restore it, or copy a checkpoint out of the run")
    data = {key: value for key, value in tree.get("data", {}).items() if key not in NOT_KEPT}
    train = {key: value for key, value in tree.get("train", {}).items() if key not in ("hours", "init_from")}
    train |= {"steps": STEPS, "freeze_critic": 0, "adapt": "all"}
    return {**tree, "about": {}, "data": data, "train": train, "eval": {}}
