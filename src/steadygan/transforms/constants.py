"""Cached constant tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


def constant(make: Callable[[torch.dtype, torch.device], Tensor]) -> Callable[[torch.dtype, torch.device], Tensor]:
    """Decorator: caches a function's tensor by dtype and device.

    The tensors are ordinary ones even if first requested under a fake-tensor mode (memory estimates) or in inference
    mode.
    """

    @cache
    @wraps(make)
    def made(dtype: torch.dtype, device: torch.device) -> Tensor:
        with _disable_current_modes(), torch.inference_mode(False):
            return make(dtype, device)

    return made
