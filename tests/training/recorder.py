"""A CPU's counterpart of CUDA graphs: records what operators do to which tensors, and does it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from steadygan.training.graphs import Values


class Recorder:
    """In the place of `cuda_capture`. recorded, replayed: how many phases and how often.

    Like a CUDA graph's, a replay runs no Python of the phase: what it chose, and every number it took from the host,
    stays as it was, each tensor is read and written where it was, and only random numbers are new. Unlike it,
    recording carries the phase out, which is why the first replay does nothing.
    """

    recorded = replayed = 0

    def __call__(self, work: Callable[[], Values]) -> Callable[[], Values]:
        self.recorded += 1
        first = True
        with Tape() as tape:
            values = work()

        def replay() -> Values:
            nonlocal first
            self.replayed += 1
            if not first:
                tape.replay()
            first = False
            return values

        return replay


class Tape(TorchDispatchMode):
    """Within, keeps every operator that writes, with its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor] | None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aliases = [argument.alias_info for argument in func._schema.arguments if argument.alias_info is not None]
        if not aliases:
            self.calls.append((func, args, kwargs or {}, tensors(out)))
        elif any(alias.is_write for alias in aliases):
            self.calls.append((func, args, kwargs or {}, None))
        return out  # of a view nothing is kept: it sees what its base holds

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self.calls:
            out = func(*args, **kwargs)
            if made is not None:
                for old, new in zip(made, tensors(out), strict=True):
                    old.copy_(new)


def tensors(out: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
