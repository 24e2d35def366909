"""The command that trains on what lies in a folder or archive, where its layout says more than images alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steadygan.data.containers.base import Container
from steadygan.data.domains import find_domains, image_names
from steadygan.data.listing import split_folders
from steadygan.errors import command_line


def propose(files: Container, path: str) -> dict[str, Any]:
    """The report of `data info` on a layout of several parts.

    Returns:
        domains: {split: {a, b, paired}} of the two domains of a translation, with how many images each has; splits:
        {folder: images} of train/ and the val/ or test/ next to it; command: what to train with, None without either.
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
    splits = split_folders(image_names(files))
    training = next(iter(splits), None)
    command = None
    if training is not None and Path(path).expanduser().is_dir():
        command = command_line("train", Path(path) / training)
    return {"domains": {}, "splits": {folder: len(names) for folder, names in splits.items()}, "command": command}
