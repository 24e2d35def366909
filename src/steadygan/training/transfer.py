"""Fine-tuning: starts from another run's networks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.importing.opening import as_checkpoint
from steadygan.nets.unfilled import Unfilled
from steadygan.runs.checkpoint import (
    AVERAGED,
    find_checkpoint,
    licence,
    manifest_step,
    read_manifest,
    read_weights,
    weights_digest,
    weights_name,
)
from steadygan.training.grafting import can_differ, graft
from steadygan.training.state import TrainState

NAMED = 8
"""Maximum number of initialised tensors named in the warning; provenance names all."""

SETTINGS = {
    "kind": "model.kind",
    "size": "data.size",
    "channels": "data.channels",
    "latent": "model.latent",
    "width": "model.width",
    "options": "model.generator",
}
"""The setting behind each entry of a checkpoint's description of its generator."""


def start_from(
    state: TrainState,
    path: Path,
    generator: Mapping[str, Any],
    critic: Callable[[Mapping[str, Any]], nn.Module] | None = None,
) -> dict[str, Any]:
    """Loads G, D and the averaged G of another run for fine-tuning; optimisers and counters start from scratch.

    Wang et al., Transferring GANs, ECCV 2018 (TransferGAN): both players start from the source. A warning names the
    tensors that are initialised because the source has other classes, another size (`grafting`) or no discriminator
    (imported weights may lack it), and the licence of imported weights.

    Args:
        state: the run before its first step.
        path: a checkpoint, a run (its best, else newest checkpoint), or a shared generator.
        generator: the generator's description in this run's checkpoints.
        critic: builds this run's discriminator for a source's description, to detect other options.

    Returns:
        An entry for provenance.json: path, step and SHA-256 of the weights, initialised tensors, the licence.

    Raises:
        UserError: the architecture differs (the message names the first tensor that does), or cannot be adapted.
    """
    checkpoint = find_checkpoint(as_checkpoint(path))
    manifest = read_manifest(checkpoint, (weights_name(checkpoint),))
    source, mine = manifest.get("generator", {}), state.weights()
    weights = _with_raw(read_weights(checkpoint), mine)
    absent = [net for net in state.objective.players["D"] if not any(name.startswith(f"{net}.") for name in weights)]
    try:
        changed = can_differ(source, generator)
    except UserError as error:
        raise UserError(f"train.init_from={path}: {error}") from error
    fresh: list[str] = []
    if changed and (critic is None or _same_critic(weights, source, critic)):
        steps = round(math.log2(generator["size"] / source["size"]))
        grafted = graft(weights, mine, steps)
        weights = grafted.weights
        fresh = [name for name in grafted.fresh if name.split(".", 1)[0] not in absent]
    weights |= {name: value for name, value in mine.items() if name.split(".", 1)[0] in absent}
    _check_architecture(path, weights, mine, source, generator)
    if resting := sorted(set(fresh) & set(state.objective.frozen)):
        raise UserError(
            f"train.freeze_critic would freeze a newly initialised block ({resting[0]}), absent from the source at "
            "this size; set train.freeze_critic=0"
        )
    try:
        state.load_weights(weights)
    except ValueError as error:
        raise UserError(f"train.init_from={path}: {error}") from error
    if absent:
        warnings.warn(f"{path} has no {', '.join(absent)}: initialised at random", stacklevel=2)
    if fresh:
        named = ", ".join(fresh[:NAMED]) + (f" and {len(fresh) - NAMED} more" if len(fresh) > NAMED else "")
        warnings.warn(f"{path} {_differs(source, generator)}: newly initialised: {named}", stacklevel=2)
    terms = say_terms(path, checkpoint, manifest)
    return {
        "checkpoint": str(checkpoint.expanduser().resolve()),
        "step": manifest_step(checkpoint, manifest),
        "weights_sha256": weights_digest(checkpoint),
        **({"fresh": [*absent, *fresh]} if absent or fresh else {}),
        **({"licence": terms} if terms else {}),
    }


def say_terms(path: Path, checkpoint: Path, manifest: Mapping[str, Any]) -> str:
    """Warns of the licence if a checkpoint holds imported weights or was trained from them; returns the licence."""
    if terms := licence(checkpoint, manifest):
        warnings.warn(f"images of {path} are under the licence of its weights: {terms}", stacklevel=2)
    return terms


def _with_raw(weights: dict[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights; for a shared generator, which has averaged weights only, those also serve as raw weights."""
    prefix = f"{AVERAGED}."
    averaged = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    if any(not name.startswith((prefix, "D")) for name in weights):
        return weights
    direct = {name: value for name, value in averaged.items() if name in mine}  # of a translation: G_ab.…
    return weights | (direct or {f"G.{name}": value for name, value in averaged.items()})


def _same_critic(
    weights: Mapping[str, Tensor], source: Mapping[str, Any], critic: Callable[[Mapping[str, Any]], nn.Module]
) -> bool:
    """Whether this run's discriminator, built for the source's classes and size, matches the source's, if there is
    one."""
    theirs = {name.removeprefix("D."): value.shape for name, value in weights.items() if name.startswith("D.")}
    if not theirs:
        return True
    with torch.device("meta"), Unfilled():
        return {name: value.shape for name, value in critic(source).state_dict().items()} == theirs


def _check_architecture(
    path: Path,
    weights: Mapping[str, Tensor],
    mine: Mapping[str, Tensor],
    source: Mapping[str, Any],
    generator: Mapping[str, Any],
) -> None:
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
                f"train.init_from={path}: its networks have another architecture: {name} is "
                f"{there} in the source and {here} here"
                + (
                    f" ({'; '.join(settings)}): set what the source has"
                    if settings
                    else "; compare model.critic of the two runs"
                )
            )


def _differs(source: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    told = []
    if source.get("classes") != mine["classes"]:
        told.append(f"is {_conditional(source.get('classes'))}, this run {_conditional(mine['classes'])}")
    if source.get("size") != mine["size"]:
        told.append(f"makes images of {source.get('size')} pixels, this run of {mine['size']}")
    return ", and ".join(told)


def _conditional(classes: Any) -> str:
    return f"conditional on {classes} classes" if classes else "unconditional"
