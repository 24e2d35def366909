"""Exports the tensors alone, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from steadygan.exporting.subject import Subject
from steadygan.files import write_whole


def write(subject: Subject, out: Path) -> None:
    """Writes a state dict for `steadygan.nets.create_generator`; for a translation, of all its generators."""
    save(subject.tensors(), out)


def save(content: Mapping[str, Any], out: Path) -> None:
    """Saves tensors with torch, atomically."""

    def write_to(file: Path) -> None:
        with file.open("wb") as stream:  # given a path, torch names the archive after it, and not every name works
            torch.save(dict(content), stream)

    write_whole(out, write_to)
