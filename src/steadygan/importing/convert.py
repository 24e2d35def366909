"""Converts other programs' files to a steadygan checkpoint: checked, complete, with its origin recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from steadygan._version import __version__
from steadygan.errors import UserError
from steadygan.files import sha256, whole_directory
from steadygan.importing.families import read_files
from steadygan.importing.finetune import FINETUNE, configuration, text
from steadygan.importing.layouts.common import Imported
from steadygan.importing.values import Refused
from steadygan.nets import create_critic, create_generator
from steadygan.nets.unfilled import Unfilled
from steadygan.runs.checkpoint import FORMAT, MANIFEST, STATISTICS, WEIGHTS
from steadygan.runs.shared import HUGGING_FACE

MOST_PARAMETERS = 1 << 31


def import_files(
    paths: Sequence[Path], out: Path, given: Mapping[str, str] | None = None, family: str | None = None
) -> Imported:
    """Converts another program's weights to a steadygan checkpoint. Nothing in the files is executed.

    Args:
        paths: files that belong together.
        out: the folder for the checkpoint.
        given: settings that the files do not record, as text.
        family: the program that wrote them; None: detect it.

    Raises:
        UserError: a tensor cannot be converted, or `out` exists; nothing is written.
    """
    if out.exists():
        raise UserError(f"{out} exists already; choose another folder with --out, or remove it")
    paths = [path / HUGGING_FACE if (path / HUGGING_FACE).is_file() else path for path in paths]
    imported = read_files(paths, given or {}, family)
    check(imported)
    write(imported, paths, out)
    return imported


def check(imported: Imported) -> None:
    """Raises Refused unless exactly our tensors are present, with the right shapes and types."""
    if "directions" not in imported.generator:
        for name, other in (("G_ema", "G"), ("G", "G_ema")):
            if name not in imported.networks:
                imported.networks[name] = dict(imported.networks[other])
    shapes = {player: expected(imported, player) for player in {name[0] for name in imported.networks}}
    for name, tensors in imported.networks.items():
        for key, (shape, dtype) in shapes[name[0]].items():
            if key not in tensors:
                raise Refused(f"{imported.family}: {name}.{key} of our network has no counterpart in the file")
            if tensors[key].shape != shape:
                raise Refused(
                    f"{imported.family}: {name}.{key} is {list(tensors[key].shape)} in the file, where a network of "
                    f"this configuration has {list(shape)}"
                )
            if tensors[key].dtype != dtype:
                if not (tensors[key].is_floating_point() and dtype.is_floating_point):
                    raise Refused(f"{imported.family}: {name}.{key} is of type {tensors[key].dtype}, not {dtype}")
                tensors[key] = tensors[key].to(dtype)
            if not bool(tensors[key].isfinite().all()):
                raise Refused(f"{imported.family}: {name}.{key} holds numbers that are not finite")
        if spare := tensors.keys() - shapes[name[0]].keys():
            raise Refused(f"{imported.family}: our network has no {name}.{min(spare)}, which the file contains")


def expected(imported: Imported, player: str) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and type of every tensor of the generator ("G") or discriminator ("D"), without allocating memory.

    Raises:
        Refused: the network would be larger than any that is imported.
    """
    description = dict(imported.critic or {}) if player == "D" else dict(imported.generator)
    description = {
        key: value for key, value in description.items() if key not in ("prior", "class_names", "directions")
    }
    options = description.pop("options")
    make = create_critic if player == "D" else create_generator
    with torch.device("meta"), Unfilled():
        try:
            network = make(**description, **options)
        except UserError as error:
            raise Refused(f"{imported.family}: {error}") from error
    if sum(parameter.numel() for parameter in network.parameters()) > MOST_PARAMETERS:
        raise Refused(f"{imported.family}: {player} would have more than {MOST_PARAMETERS:,} parameters")
    return {key: (value.shape, value.dtype) for key, value in network.state_dict().items()}


def weights_of(imported: Imported) -> dict[str, Tensor]:
    """All tensors by `network.parameter`, without shared memory."""
    networks = dict(imported.networks)
    if "directions" in imported.generator:  # several averaged generators, in a dictionary
        networks |= {f"G_ema.{name}": tensors for name, tensors in networks.items() if name.startswith("G")}
    return {f"{name}.{key}": value.clone() for name, tensors in networks.items() for key, value in tensors.items()}


def origin(imported: Imported, paths: Sequence[Path]) -> dict[str, Any]:
    """The origin of the weights, for the manifest."""
    return {
        "files": [{"name": path.name, "sha256": sha256(path)} for path in paths],
        "family": imported.family,
        "licence": imported.licence,
        "arguments": imported.arguments,
        "assumed": imported.assumed,
        "left_out": imported.left_out,
    }


def write(imported: Imported, paths: Sequence[Path], out: Path) -> None:
    """Writes an ordinary checkpoint without a training state, which the files lack."""
    description = {"class_names": [], "prior": "normal", **imported.generator}
    description["class_names"] = description["class_names"] or [str(i) for i in range(description["classes"])]
    with whole_directory(out) as temporary:
        save_file(weights_of(imported), temporary / WEIGHTS)
        written = [WEIGHTS]
        if imported.statistics:
            save_file(imported.statistics, temporary / STATISTICS)
            written.append(STATISTICS)
        manifest = {
            "format": FORMAT,
            "steadygan": __version__,
            "torch": torch.__version__,
            "step": 0,
            "images": 0,
            "generator": description,
            **({"critic": imported.critic} if imported.critic is not None else {}),
            "origin": origin(imported, paths),
            "sha256": {name: sha256(temporary / name) for name in written},
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        finetune = text(configuration(description, imported.critic, out), out)
        (temporary / FINETUNE).write_text(finetune, encoding="utf-8")
