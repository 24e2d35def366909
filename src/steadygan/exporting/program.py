"""A generator as one traceable function: latents (and class, truncation) in, images out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from steadygan._version import __version__
from steadygan.exporting.subject import Subject
from steadygan.generators.generator import Generator
from steadygan.generators.translator import Translator
from steadygan.nets.protocols import Mapped
from steadygan.nets.resample import set_folding
from steadygan.nets.spectral_norm import bake_spectral_norm
from steadygan.nets.translate import LEAST_SIDE, STRIDE, generator_name
from steadygan.nets.translate import Generator as ResidualTranslator

EXAMPLES = 2
"""Traced batch size; torch would specialise on a batch of one."""


class Synthesis(nn.Module):
    """z (N, latent), y (N,) int64 if conditional, truncation () → images (N, C, H, W), in about [−1, 1].

    Args:
        tables: batch-norm statistics by truncation from 0 to 1, interpolated for `truncation`.
    """

    table: Tensor

    def __init__(self, network: nn.Module, tables: Mapping[str, Tensor], *, mapped: bool) -> None:
        super().__init__()
        self.network, self.mapped, self.names = network, mapped, sorted(tables)
        self.widths = [tables[name].shape[1] for name in self.names]
        if tables:
            self.register_buffer("table", torch.cat([tables[name] for name in self.names], 1))

    def forward(self, z: Tensor, y: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        if truncation is None:
            return self.network(z, y)
        if self.mapped:
            return self.network(z, y, truncation)
        found = self._statistics(truncation).split(self.widths)
        return functional_call(self.network, dict(zip(self.names, found, strict=True)), (z, y))

    def _statistics(self, truncation: Tensor) -> Tensor:
        """Interpolates between the two nearest rows of the table (truncations, all channels), like
        `truncations.at_truncation`."""
        last = self.table.shape[0] - 1
        place = (1 - F.relu(1 - truncation)) * last  # truncations above 1 count as 1
        near = F.relu(1 - (torch.arange(last + 1) - place).abs())
        return near @ self.table


class Translation(nn.Module):
    """x (N, C, H, W) in [−1, 1] → image of the same shape."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@dataclass(frozen=True)
class Program:
    """A module and its tracing inputs.

    Attributes:
        name: empty, or the direction of a translation.
        module: the function to trace.
        inputs: examples by name.
        shapes: their dynamic dimensions, for `torch.export`.
        about: metadata for the file.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    shapes: dict[str, Any]
    about: dict[str, Any]


def programs(subject: Subject) -> list[Program]:
    """One program for a generator, or one for each direction of a translation."""
    if isinstance(subject.made, Translator):
        return [_translation(subject, subject.made, direction) for direction in subject.made.directions]
    return [_synthesis(subject, subject.made)]


def place_of(out: Path, program: Program) -> Path:
    """The file of a program: `out`, with the direction added to its name if there are several."""
    return out.with_name(f"{out.stem}-{program.name}{out.suffix}") if program.name else out


def about(subject: Subject) -> dict[str, Any]:
    """Metadata for users of the file."""
    made = subject.description
    keys = ("kind", "size", "channels", "classes", "class_names", "latent", "prior")
    found: dict[str, Any] = {key: made[key] for key in keys if key in made}
    return {
        "steadygan": __version__,
        "name": subject.name,
        "step": subject.made.step,
        **found,
        "licence": _terms(subject),
    }


def _terms(subject: Subject) -> str:
    return "; ".join(filter(None, (subject.made.licence, subject.options.licence)))


def _plain(network: nn.Module) -> nn.Module:
    """A copy with plain weights: no spectral norm, no folded kernels."""
    network = copy.deepcopy(network)
    bake_spectral_norm(network)
    set_folding(network, False)
    return network.eval().requires_grad_(False)


def _synthesis(subject: Subject, made: Generator) -> Program:
    truncation, mapped = subject.options.truncation, isinstance(made.module, Mapped)
    chosen = mapped or bool(made.tables)
    network = made.network(None if chosen else truncation)
    module = Synthesis(_plain(network), made.tables, mapped=mapped)
    batch = {0: torch.export.Dim("batch", min=1)}
    generator = torch.Generator().manual_seed(0)
    inputs, shapes = {"z": made.prior.latents(EXAMPLES, generator)}, {"z": batch}
    if made.classes:
        inputs["y"], shapes["y"] = torch.arange(EXAMPLES) % made.classes, batch
    if chosen:
        inputs["truncation"], shapes["truncation"] = torch.tensor(0.7), {}
    facts = about(subject)
    if made.has_batch_norm and not chosen:
        facts["truncation"] = truncation
    return Program("", module.eval(), inputs, shapes, facts)


def _translation(subject: Subject, made: Translator, direction: str) -> Program:
    """Accepts sides that are multiples of 4; a U-Net, whose innermost map may be one pixel, only its own size."""
    network = _plain(made.nets[generator_name(direction)])
    batch = {0: torch.export.Dim("batch", min=1)}
    facts = about(subject) | {"direction": direction}
    if isinstance(network, ResidualTranslator):
        least = LEAST_SIDE // STRIDE
        height, width = (STRIDE * torch.export.Dim(f"{side}_steps", min=least) for side in ("height", "width"))
        shapes = {"x": {**batch, 2: height, 3: width}}
        side, facts["sides"] = max(made.size // STRIDE * STRIDE, 2 * LEAST_SIDE), f"multiples of {STRIDE}"
    else:
        shapes = {"x": batch}
        side, facts["sides"] = made.size, str(made.size)
    x = torch.rand(EXAMPLES, made.channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    name = direction if len(made.directions) > 1 else ""
    return Program(name, Translation(network).eval(), {"x": x}, shapes, facts)


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager: hides warnings about internals of torch's exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def traced(program: Program) -> torch.export.ExportedProgram:
    """The graph of a program, of torch's own operators."""
    with torch.no_grad(), quiet():
        return torch.export.export(program.module, (), program.inputs, dynamic_shapes=program.shapes, strict=False)
