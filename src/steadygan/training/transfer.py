"""Starting from another run's networks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steadygan.errors import UserError
from steadygan.runs.checkpoint import WEIGHTS, find_checkpoint, licence, manifest_step, read_manifest, read_weights
from steadygan.training.state import TrainState

SETTINGS = {
    "kind": "model.kind",
    "size": "data.size",
    "channels": "data.channels",
    "latent": "model.latent",
    "width": "model.width",
    "options": "model.generator",
}
"""The setting behind each entry of a checkpoint's description of its generator."""


def start_from(state: TrainState, path: Path, generator: Mapping[str, Any]) -> dict[str, Any]:
    """Loads G, D and the averaged G of another run, so that training fine-tunes them; everything else starts fresh.

    Wang et al., Transferring GANs, ECCV 2018 (TransferGAN): both players start from the source. path: a checkpoint, or
    a run for its best (else newest) one; generator: what this run's checkpoints say of its generator. Returns what
    provenance records: path, step and SHA-256 of the weights. Raises UserError for another architecture, naming the
    first tensor that differs, and for another number of classes, as classes cannot be mapped to each other. A
    discriminator missing from the source (imported weights may be a generator alone) is new; that, and the licence
    of imported weights, is said as a warning.
    """
    checkpoint = find_checkpoint(path)
    manifest = read_manifest(checkpoint, (WEIGHTS,))
    source = manifest.get("generator", {})
    if source.get("classes") != generator["classes"]:
        raise UserError(
            f"train.init_from={path}: its networks are {_conditional(source.get('classes'))}, this run's are "
            f"{_conditional(generator['classes'])}; both must be unconditional (model.conditional=false) or have the "
            "same number of classes"
        )
    weights = read_weights(checkpoint)
    mine = state.weights()
    absent = [net for net in state.objective.players["D"] if not any(name.startswith(f"{net}.") for name in weights)]
    weights |= {name: value for name, value in mine.items() if name.split(".", 1)[0] in absent}
    for name in sorted(mine.keys() | weights.keys()):
        here, there = (
            str(list(tensors[name].shape)) if name in tensors else "not there" for tensors in (mine, weights)
        )
        if here != there:
            settings = [
                f"{setting} is {source.get(key)!r} there, {generator[key]!r} here"
                for key, setting in SETTINGS.items()
                if source.get(key) != generator[key]
            ]
            raise UserError(
                f"train.init_from={path}: its networks are not of this architecture; {name} is "
                f"{there} in the source and {here} here"
                + (f" ({'; '.join(settings)})" if settings else "; compare model.critic of the two runs")
            )
    try:
        state.load_weights(weights)
    except ValueError as error:
        raise UserError(f"train.init_from={path}: {error}") from error
    if absent:
        warnings.warn(f"{path} has no {', '.join(absent)}: initialised at random", stacklevel=2)
    if terms := licence(checkpoint, manifest):
        warnings.warn(f"images of {path} are under the licence of its weights: {terms}", stacklevel=2)
    return {
        "checkpoint": str(checkpoint.expanduser().resolve()),
        "step": manifest_step(checkpoint, manifest),
        "weights_sha256": manifest["sha256"][WEIGHTS],
        **({"fresh": absent} if absent else {}),
        **({"licence": terms} if terms else {}),
    }


def _conditional(classes: Any) -> str:
    return f"conditional on {classes} classes" if classes else "unconditional"
