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
    write_whole(out, lambda file: torch.save(dict(content), file))
