"""Where rounding decides a derivative: rectifiers and pools whose inputs another precision puts on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RECTIFIERS = ("relu", "leaky_relu", "clamp", "threshold", "abs")
POOLS = ("max_pool2d_with_indices",)


class _Noting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        name = function.overloadpacket.__name__.rstrip("_")
        if name in RECTIFIERS:  # before the call, which may be in place
            self.noted.append(arguments[0].detach() > 0)
        out = function(*arguments, **(keywords or {}))
        if name in POOLS:
            self.noted.append(out[1].detach().clone())
        return out


@contextmanager
def decisions() -> Iterator[list[Tensor]]:
    """The decisions of rectifiers and pools within the block, in the order of the calls: signs and places of maxima."""
    with _Noting() as mode:
        yield mode.noted


def alike(ours: list[Tensor], theirs: list[Tensor], batch: int) -> Tensor:
    """(batch) booleans: for which images two networks decide the same everywhere.

    The two may come to their layers in another order: each is compared with that of its shape that is most like it.
    Where a network is evaluated for one part of the batch after the other, its decisions follow each other so, too.
    """
    if not ours and not theirs:
        return torch.ones(batch, dtype=torch.bool)
    rows = len(ours[0])
    layers, same = len(ours) * rows // batch, []
    for place in range(0, len(ours), layers):
        left, equal = theirs[place : place + layers], torch.ones(rows, dtype=torch.bool)
        for a in ours[place : place + layers]:
            apart = [(int((a != b).sum()) if a.shape == b.shape else a.numel() + 1) for b in left]
            nearest = apart.index(min(apart))
            equal &= (a == left.pop(nearest)).flatten(1).all(1)  # an error where none is of this shape
        same.append(equal)
    return torch.cat(same)
