"""Where rounding decides a derivative: rectifiers and pools whose inputs another precision puts on the other side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
    """What rectifiers and pools decide within the block, in the order of the calls: signs and places of maxima."""
    with _Noting() as mode:
        yield mode.noted


def turned(narrow: list[Tensor], wide: list[Tensor]) -> str:
    """How many decisions differ, of how many: "2 of 350000"."""
    if [part.shape for part in narrow] != [part.shape for part in wide]:
        return "?"
    count = sum(int((a != b).sum()) for a, b in zip(narrow, wide, strict=True))
    return f"{count} of {sum(part.numel() for part in narrow)}"
