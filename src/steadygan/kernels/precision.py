"""Autocast for parts of a network: switched off or applied manually."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Switches autocast off on the device of `x`; the meta device has none."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def rounded(x: Tensor) -> Tensor:
    """x in autocast's dtype for convolutions, if autocast is on."""
    kind = x.device.type
    if x.dtype is torch.float32 and not x.is_meta and torch.is_autocast_enabled(kind):
        return x.to(torch.get_autocast_dtype(kind))
    return x
