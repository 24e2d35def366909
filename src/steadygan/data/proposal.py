"""Proposes a training command for a folder or archive with splits or two domains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steadygan.data.containers.base import Container
from steadygan.data.domains import find_domains
from steadygan.data.folders import find_split
from steadygan.data.image_files import image_names
from steadygan.errors import command_line


def propose(files: Container, path: str) -> dict[str, Any]:
    """The part of `data info` on layouts with splits or domains.

    Returns:
        domains: {split: {a, b, paired}}, the numbers of images of a translation's two domains; splits: {folder: images}
        of train/ and the val/ or test/ next to it; command: the training command, None if there are neither or the path
        itself can be trained on.
    """
    domains = find_domains(files)
    if domains:
        paired = domains["train"][2]
        preset = "cufs-pix2pix" if paired else "cufs-cyclegan"
        return {
            "domains": {part: {"a": a, "b": b, "paired": belong} for part, (a, b, belong) in domains.items()},
            "splits": {},
            "command": command_line("train", preset, f"data.path={path}"),
        }
    found = find_split(image_names(files))
    if found is None:
        return {"domains": {}, "splits": {}, "command": None}
    splits = {folder: len(names) for folder, names in found.training.items()} | found.others
    training = list(found.training)
    one = len(training) == 1 and "*" not in training[0] and Path(path).expanduser().is_dir()
    command = command_line("train", Path(path) / training[0]) if one else None
    return {"domains": {}, "splits": splits, "command": command}
