"""Gradient checkpointing: blocks drop their activations and recompute them in the backward pass."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from steadygan.nets.batch_norm import OfBatch


class Block(nn.Module):
    """A module that, when `recompute` is set, keeps only its input for the backward pass (Chen et al., 2016).

    Gradients of any order are the same, at the cost of one more forward pass. The second pass has the same random
    numbers and batch-norm groups as the first, and does not update running statistics.
    """

    recompute: bool = False

    def __call__(self, *args: Any) -> Any:
        if not (self.recompute and torch.is_grad_enabled()):
            return super().__call__(*args)
        again = Again(self)
        return checkpoint(super().__call__, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), again))


class Again:
    """Context manager: restores a block's earlier settings and freezes its running statistics."""

    def __init__(self, block: nn.Module) -> None:
        norms = [layer for layer in block.modules() if isinstance(layer, _BatchNorm)]
        self.then: list[tuple[nn.Module, str, Any]] = []
        for layer in norms:
            self.then += [(layer, "momentum", 0.0), (layer, "num_batches_tracked", None)]
        self.then += [(layer, "groups", layer.groups) for layer in block.modules() if isinstance(layer, OfBatch)]

    def __enter__(self) -> None:
        self.now = [(layer, name, getattr(layer, name)) for layer, name, _ in self.then]
        for layer, name, value in self.then:
            setattr(layer, name, value)

    def __exit__(self, *exc: object) -> None:
        for layer, name, value in self.now:
            setattr(layer, name, value)


def set_recompute(module: nn.Module, recompute: bool) -> int:
    """Sets `recompute` of every block in `module`; returns the number of blocks."""
    blocks = [block for block in module.modules() if isinstance(block, Block)]
    for block in blocks:
        block.recompute = recompute
    return len(blocks)
