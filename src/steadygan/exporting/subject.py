"""The averaged generator of a checkpoint, with everything known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.generators.generator import Generator
from steadygan.generators.translator import Translator, is_translation
from steadygan.importing.opening import as_checkpoint
from steadygan.runs.checkpoint import AVERAGED, read_manifest, read_networks, use_checkpoint
from steadygan.runs.outputs import run_of


@dataclass(frozen=True)
class Options:
    """Export options; each target uses those it needs.

    Attributes:
        truncation: for which batch-norm statistics are gathered if the graph fixes them.
        licence: the licence of the weights, for the card.
        public, token: of the Hub repository.
    """

    truncation: float | None = None
    licence: str = ""
    public: bool = False
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Subject:
    """A generator or translator on the CPU.

    Attributes:
        path: the checkpoint.
        name: of the run, or of the checkpoint's folder.
        manifest: the checkpoint's.
        made: the `Generator` or `Translator`.
        run: its run directory, if any.
        options: of the export.
    """

    path: Path
    name: str
    manifest: Mapping[str, Any]
    made: Generator | Translator
    run: Path | None
    options: Options

    @property
    def description(self) -> dict[str, Any]:
        """The network's description: kind, size, options, …."""
        return dict(self.manifest["generator"])

    @property
    def translates(self) -> bool:
        return isinstance(self.made, Translator)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged generator's tensors in the checkpoint, by name."""
        _, tensors = read_networks(self.path, (AVERAGED,))
        return {name.removeprefix(f"{AVERAGED}."): value.contiguous() for name, value in tensors.items()}

    def need_kind(self, kind: str, target: str) -> None:
        """Raises `UserError` unless the network belongs to the target's family."""
        if self.description["kind"] != kind:
            raise UserError(
                f"--to {target} is for generators of model.kind={kind}; {self.path} is a {self.description['kind']}; "
                "use another target, such as zip or onnx"
            )


def open_subject(path: Path, options: Options) -> Subject:
    """Opens the subject at a path (see `runs.checkpoint.find_checkpoint`). Raises `UserError` if there is none."""

    def read(checkpoint: Path) -> Subject:
        device = torch.device("cpu")
        made: Generator | Translator
        if is_translation(checkpoint):
            made = Translator(checkpoint, device)
        else:
            made = Generator(checkpoint, device, winograd=False)
        run = run_of(checkpoint)
        manifest = read_manifest(checkpoint, ())
        name = str(manifest.get("name") or (checkpoint if run is None else run).resolve().name)
        return Subject(checkpoint, name, manifest, made, run, options)

    return use_checkpoint(as_checkpoint(path), read)
