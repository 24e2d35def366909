"""What the peers of `import_agreement.py` are described by. Nothing of theirs is in here."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import packaging.version
import torch
from torch import Tensor, nn

BATCH = 4


@dataclass
class Expected:
    """Files that a peer wrote, options for the import, and input, value, cotangent and gradient of its networks.

    noted: what its rectifiers and pools decided; truncations: of which the images stand one behind the other; joint:
    the discriminator looks at several images at once; direction: of a translation.
    """

    files: list[str]
    options: dict[str, str] = field(default_factory=dict)
    labels: Tensor | None = None
    generator: dict[str, Any] | None = None
    critic: dict[str, Any] | None = None
    truncations: list[float] = field(default_factory=list)
    joint: bool = False
    direction: str = "ab"


@dataclass
class Networks:
    """A peer's networks as functions of (z or x, y), and how it writes them. double: whether it computes in float64."""

    save: Callable[[Path], list[str]]
    generate: Callable[[Tensor, Tensor | None], Tensor] | None
    judge: Callable[[Tensor, Tensor | None], Tensor | tuple[Tensor, Tensor]] | None
    modules: list[nn.Module]
    latent: tuple[int, ...]
    image: tuple[int, ...]
    classes: int = 0
    options: dict[str, str] = field(default_factory=dict)
    double: bool = True
    truncations: tuple[float, ...] = ()
    batch: int = BATCH
    joint: bool = False
    direction: str = "ab"
    within: Callable[[], Any] = nullcontext


@dataclass
class Peer:
    folder: str
    make: Callable[[Path, str], Networks]
    cases: tuple[str, ...]


def absent(name: str) -> None:
    """Puts something that does nothing in the place of a module that networks do not need."""
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        module = mock.MagicMock()
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.__path__ = []
        sys.modules[name] = module


def setuptools_of_old() -> None:
    """Puts the one function of setuptools' former `pkg_resources` in its place that NVIDIA's code needs."""
    if "pkg_resources" not in sys.modules and importlib.util.find_spec("pkg_resources") is None:
        module = ModuleType("pkg_resources")
        vars(module)["parse_version"] = packaging.version.parse
        sys.modules["pkg_resources"] = module


def randomise(*networks: nn.Module, scale: float = 0.3) -> None:
    """Gives biases, gains, statistics and strengths, which start at 0 or 1, values of their own."""
    for network in networks:
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            last = name.rsplit(".", 1)[-1]
            with torch.no_grad():
                if last in ("running_var", "stored_var", "running_vars"):
                    value.copy_(0.5 + torch.rand_like(value))
                elif (
                    value.dim() < 2
                    and value.is_floating_point()
                    and last[:2] not in ("u0", "sv")
                    and last
                    not in (
                        "weight_u",
                        "weight_v",
                    )
                ):
                    value.add_(scale * torch.randn_like(value))
