"""Writes a configuration that fine-tunes imported weights: `steadygan train …/finetune.yaml data.path=…`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from steadygan.errors import command_line

FINETUNE = "finetune.yaml"
HEADER = """\
# Fine-tunes the weights in this folder: {command}
# model comes from the file. objective, optim and augment are common choices for its family and few images: change them
# freely, or add train.freeze_critic=N (FreezeD) or train.adapt=scale-shift.
"""
ADAM: Mapping[str, Mapping[str, float]] = {
    "stylegan2": {"lr": 2e-3, "beta1": 0.0, "beta2": 0.99},
    "translate": {"lr": 2e-4, "beta1": 0.5, "beta2": 0.999},
    "": {"lr": 1e-4, "beta1": 0.0, "beta2": 0.999},
}


def configuration(generator: Mapping[str, Any], critic: Mapping[str, Any] | None, out: Path) -> dict[str, Any]:
    """Settings for fine-tuning the checkpoint with these networks at `out`."""
    kind, translates = generator["kind"], "directions" in generator
    model: dict[str, Any] = {
        "kind": kind,
        "width": generator["width"],
        "prior": generator["prior"],
        "conditional": bool(generator["classes"]),
        "generator": generator["options"],
    }
    if critic is not None:
        own = {} if critic["width"] == generator["width"] else {"width": critic["width"]}
        model["critic"] = {**critic["options"], **own}
    data: dict[str, Any] = {"size": generator["size"], "channels": generator["channels"]}
    objective: dict[str, Any] = {"loss": "hinge"}
    if translates:
        paired = critic is not None and critic["options"]["images"] > 1
        data["domains"] = "paired" if paired else "unpaired"
        model["directions"] = generator["directions"]
        objective = {"loss": "least-squares"}
    else:
        model["latent"] = generator["latent"]
    if kind == "stylegan2":
        objective = {"loss": "non-saturating", "terms": {"r1": {"gamma": 10.0, "every": 16}}}
    adam = dict(ADAM.get("translate" if translates else kind, ADAM[""]))
    return {
        "name": f"{out.name}-finetune",
        "data": data,
        "model": model,
        "objective": objective,
        "augment": {} if translates else {"diffaugment": {"policy": ["color", "translation", "cutout"]}},
        "optim": {"g": adam, "d": adam},
        "train": {"init_from": str(out.expanduser().resolve()), "steps": 10_000, "batch_size": 1 if translates else 16},
    }


def text(configured: Mapping[str, Any], out: Path) -> str:
    """The file's content."""
    return HEADER.format(command=command_line("train", out / FINETUNE, "data.path=FOLDER")) + yaml.dump(
        configured, Dumper=_Plain, sort_keys=False, allow_unicode=True
    )


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
