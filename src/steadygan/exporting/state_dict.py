"""The tensors alone, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from steadygan.exporting.subject import Subject
from steadygan.files import write_whole


def write(subject: Subject, out: Path) -> None:
    """A state dict of the network that `steadygan.nets.create_generator` makes; of a translation all its generators."""
    save(subject.tensors(), out)


def save(content: Mapping[str, Any], out: Path) -> None:
    """torch's file of tensors, whole or not at all."""

    def write_to(file: Path) -> None:
        with file.open("wb") as stream:  # of a path torch takes the archive's name, and not every name will do
            torch.save(dict(content), stream)

    write_whole(out, write_to)
