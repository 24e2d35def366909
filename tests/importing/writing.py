"""Writes tiny networks of ours in the layouts of other programs, for round trips through the importer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.nets import create_critic, create_generator

State = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]


@dataclass
class Written:
    """Files of a family, the networks of ours in them, and the options needed to read them."""

    files: list[Path]
    nets: dict[str, nn.Module]
    options: dict[str, str] = field(default_factory=dict)
    exact: bool = True


def make(kind: str, *, size: int, classes: int, latent: int, g: dict[str, Any], d: dict[str, Any] | None) -> list[Any]:
    """A generator and, unless `d` is None, a discriminator, with random values in every tensor."""
    torch.manual_seed(0)
    sizes = {"size": size, "channels": 3, "classes": classes}
    nets = [create_generator(kind, **sizes, latent=latent, **g)]
    nets += [] if d is None else [create_critic(d.pop("kind", kind), **sizes, **d)]
    with torch.no_grad():
        for net in nets:
            for name, value in [*net.named_parameters(), *net.named_buffers()]:
                if name.endswith("running_var"):
                    value.uniform_(0.5, 2)
                elif value.is_floating_point() and value.dim() < 2 and name.rsplit(".")[-1] not in ("u", "v"):
                    value.add_(0.1 * torch.randn_like(value))
    return nets


def renamed(state: Mapping[str, Tensor], rules: Rules) -> State:
    """Renames tensors by the first matching rule; every tensor must match one."""
    out: State = {}
    for key, value in state.items():
        for pattern, name in rules:
            if re.fullmatch(pattern, key):
                out[re.sub(pattern, name, key)] = value
                break
        else:
            raise AssertionError(f"no name for {key}")
    return out


def one_buffer(net: nn.Module) -> State:
    """A state dict in which spectral norm is stored as BigGAN-PyTorch does."""
    state = {key: value for key, value in net.state_dict().items() if not key.endswith((".v", "num_batches_tracked"))}
    return {
        (f"{key}0" if key.endswith(".u") else key): (value[None] if key.endswith(".u") else value)
        for key, value in state.items()
    }


def torch_norm(state: Mapping[str, Tensor]) -> State:
    """Spectral norm as torch's own stores it."""
    named = {}
    for key, value in state.items():
        base, _, last = key.rpartition(".")
        if f"{base}.u" in state and last in ("weight", "u", "v"):
            key = f"{base}.weight_{'orig' if last == 'weight' else last}"
        named[key] = value
    return named
