"""Generators and translators from checkpoints and run directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from steadygan.errors import UserError, command_line
from steadygan.generators.generator import Generator
from steadygan.generators.translator import Translator as Translator
from steadygan.generators.translator import is_translation
from steadygan.importing.opening import as_checkpoint
from steadygan.machine import choose_device
from steadygan.runs.checkpoint import use_checkpoint


def load(
    path: str | Path, *, device: str = "auto", weights: Literal["ema", "raw"] = "ema", winograd: bool = True
) -> Generator:
    """Loads the generator of a checkpoint, or of a run's best checkpoint (its newest if none has been scored).

    Args:
        path: a checkpoint or run directory.
        device: auto, cpu, cuda or cuda:1.
        weights: the averaged weights or those of the last step.
        winograd: on a CPU, use Winograd kernels that training has compiled; nothing is compiled here.

    Raises:
        UserError: it does not exist, is damaged, or is a translation's (`load_translator`).
    """

    def read(checkpoint: Path) -> Generator:
        if is_translation(checkpoint):
            use = command_line("translate", path, "--input", "FOLDER", "--out", "FOLDER")
            raise UserError(f"{path} is an image-to-image translation: use `{use}`, or load_translator in Python")
        return Generator(checkpoint, choose_device(device), weights, winograd=winograd)

    return use_checkpoint(as_checkpoint(Path(path)), read)


def load_translator(path: str | Path, *, device: str = "auto", weights: Literal["ema", "raw"] = "ema") -> Translator:
    """Loads the generators of a translation's checkpoint, or of a run's best one.

    Args:
        path: a checkpoint or run directory.
        device: auto, cpu, cuda or cuda:1.
        weights: the averaged weights or those of the last step.

    Raises:
        UserError: it does not exist, is damaged, or is not a translation's (`load`).
    """

    def read(checkpoint: Path) -> Translator:
        if not is_translation(checkpoint):
            raise UserError(f"{path} is not a translation: use `{command_line('sample', path)}`, or load in Python")
        return Translator(checkpoint, choose_device(device), weights)

    return use_checkpoint(as_checkpoint(Path(path)), read)


def sample(path: str | Path, num: int = 16, **options: Any) -> Tensor:
    """Generates images from a checkpoint or run directory: `load(path).sample(num, …)`.

    Args:
        path: a checkpoint or run directory.
        num: number of images.
        options: see `Generator.sample`.
    """
    return load(path).sample(num, **options)
