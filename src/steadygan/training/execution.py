"""Execution of phases on a device: memory layout, precision, convolutions, compilation, CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steadygan.config import TrainConfig
from steadygan.errors import UserError
from steadygan.kernels.winograd.layer import set_winograd
from steadygan.kernels.winograd.native import obstacle
from steadygan.machine import choose_precision
from steadygan.nets.recompute import set_recompute
from steadygan.nets.resample import set_folding
from steadygan.objective.terms import Term
from steadygan.parallel.share import Share, Sharing, share_of
from steadygan.training.graphs import Graphs, choose_mode, cuda_capture


@dataclass
class Execution:
    """How phases are executed on a device. Modes differ in rounding only.

    Attributes:
        accumulate: micro-batches per phase.
        autocast: see `Bundle`.
        compiled: see `Bundle`.
        graphs: records and replays phases; None without CUDA graphs.
        mode: description of all settings, for the user.
        events: changes made during training, for metrics.jsonl.
    """

    accumulate: int = 1
    autocast: torch.dtype | None = None
    compiled: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    graphs: Graphs | None = None
    mode: str = "eager"
    events: list[dict[str, Any]] = field(default_factory=list)


def build_execution(
    train: TrainConfig, nets: Mapping[str, nn.Module], terms: Sequence[Term], generator: torch.Generator
) -> Execution:
    """Chooses the execution of phases, and moves the networks to their device, with its memory layout and convolutions.

    Args:
        train: the section of the configuration.
        nets: the networks by name; changed in place.
        terms: of the objective.
        generator: the run's random generator, on the device.

    Raises:
        UserError: `train.recompute` is set and the networks are not made of blocks.
    """
    device, share = generator.device, share_of(generator)
    memory_format = torch.channels_last if train.channels_last else torch.contiguous_format
    for net in nets.values():
        net.to(device, memory_format=memory_format)  # type: ignore[call-overload]
        set_folding(net, train.fold)
    if train.recompute and not sum(set_recompute(net, True) for net in nets.values()):
        raise UserError("train.recompute: these networks are not made of blocks (model.kind); set it to false")
    convolutions = choose_convolutions(train, device, nets.values())
    mode = choose_mode(train, terms, device, share.size)
    return Execution(
        accumulate=train.accumulate,
        autocast=choose_precision(train.precision, device),
        compiled={name: torch.compile(net) for name, net in nets.items() if mode.compiled and compilable(net, share)},
        graphs=Graphs(cuda_capture(generator)) if mode.graphs else None,
        mode=mode.reason + convolutions,
    )


def choose_convolutions(train: TrainConfig, device: torch.device, nets: Iterable[nn.Module]) -> str:
    """Enables Winograd convolutions where they are faster; returns a description of the choice.

    They are slower on a GPU, where multiplications cost less than the transforms; under `torch.compile`, which has
    convolutions of its own; and without compiled kernels, as transforms by PyTorch operators cost more than the
    products they save.
    """
    if not (train.winograd and train.channels_last and device.type == "cpu" and not train.compile):
        return ""
    if train.precision == "float16":
        return "; Winograd in no convolution (train.precision=float16)"
    reason = obstacle()
    if not (count := sum(set_winograd(net, reason is None) for net in nets)):
        return ""
    if reason is None:
        return f"; Winograd in {count} convolutions (compiled kernels)"
    return f"; Winograd in no convolution (PyTorch operators: {reason})"


def compilable(net: nn.Module, share: Share) -> bool:
    """Whether a network can be compiled: networks that communicate between processes cannot."""
    return share.size == 1 or not any(isinstance(module, Sharing) for module in net.modules())
