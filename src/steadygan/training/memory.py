"""Recovery from running out of memory: repeats the phase with smaller micro-batches."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.batch_norm import has_batch_statistics
from steadygan.training.graphs import Values
from steadygan.training.state import TrainState

WORDS = ("out of memory", "can't allocate memory", "not enough memory")
"""Parts of torch's messages on CUDA, MPS and CPU."""


def within_memory(state: TrainState, player: str, work: Callable[[], Values]) -> Values:
    """Runs `work()`, one update of a phase; if memory runs out, retries with smaller micro-batches.

    The retry has the same images, random numbers and buffers, so the run continues exactly as with a larger
    `train.accumulate`. The change is recorded in `state.execution.events`.

    Raises:
        UserError: micro-batches cannot get smaller, or there are several processes.
    """
    while True:
        before = Before(state)
        try:
            return work()
        except RuntimeError as error:
            if not ran_out(error):
                raise
            reason = str(error).strip().splitlines()[0]
        # Outside the except block, no traceback frame keeps the attempt's tensors alive.
        _make_smaller(state, player, reason)
        before.restore()


@torch.no_grad()
def _copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies tensors, with one operation for each type and device."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for i, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(i)
    copies = list(tensors)
    for (dtype, _), places in kinds.items():
        group = [tensors[i] for i in places]
        made = [tensor.clone() for tensor in group] if dtype is torch.bool else torch._foreach_mul(group, 1)
        for i, copy in zip(places, made, strict=True):
            copies[i] = copy
    return copies


def ran_out(error: RuntimeError) -> bool:
    """Whether an error from torch means out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in WORDS)


class Before:
    """Snapshot of the state that an update changes before it touches parameters: buffers, random states, new Adam
    states."""

    def __init__(self, state: TrainState) -> None:
        self._state = state
        modules: list[nn.Module] = [*state.nets.values(), *state.memories.values()]
        found = [
            (part._buffers, name, tensor)
            for module in modules
            for part in module.modules()
            for name, tensor in part._buffers.items()
            if tensor is not None
        ]
        copies = _copies([tensor for _, _, tensor in found])
        self._buffers = [(*place, copy) for place, copy in zip(found, copies, strict=True)]
        self._drawn, self._torch = state.generator.get_state(), torch.get_rng_state()
        self._cuda: Tensor | None = None
        if state.device.type == "cuda":
            self._cuda = torch.cuda.get_rng_state(state.device)

    @torch.no_grad()
    def restore(self) -> None:
        """Restores the snapshot."""
        for table, name, tensor, kept in self._buffers:
            table[name] = tensor.copy_(kept)
        for optimizer in self._state.optimizers.values():
            for moments in optimizer.state.values():
                if "exp_avg_sq" not in moments:
                    moments.clear()
        self._state.generator.set_state(self._drawn)
        torch.set_rng_state(self._torch)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._state.device)


def _make_smaller(state: TrainState, player: str, reason: str) -> None:
    """Roughly halves the micro-batches, but never to one image, which has no batch statistics."""
    execution, batch = state.execution, state.loader.batch_size
    whole = math.gcd(batch, *state.objective.sizes.values())
    least = 2 if any(has_batch_statistics(net) for net in state.nets.values()) else 1
    parts = next((n for n in range(2 * execution.accumulate, whole // least + 1) if whole % n == 0), None)
    size = batch // execution.accumulate
    if parts is None or state.share.size > 1:
        more = "" if parts is None else f" raise train.accumulate (to {parts}, say),"
        raise UserError(
            f"out of memory on {state.device} in a phase of {player} with {size} images at a time ({reason});{more} "
            "set train.recompute=true, or lower train.batch_size, model.width or data.size"
        )
    if execution.graphs is not None:
        execution.graphs.clear()
    gc.collect()
    if state.device.type == "cuda":
        torch.cuda.empty_cache()
    elif state.device.type == "mps":
        torch.mps.empty_cache()
    event: dict[str, Any] = {"event": "memory", "player": player, "from": execution.accumulate, "accumulate": parts}
    execution.events.append({"step": state.step + 1, **event, "reason": reason})
    execution.accumulate = parts
