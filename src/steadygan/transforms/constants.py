"""Small tensors that are made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


def constant(make: Callable[[torch.dtype, torch.device], Tensor]) -> Callable[[torch.dtype, torch.device], Tensor]:
    """Decorates a function so that each of its tensors is made once, for a dtype and a device.

    They are ordinary tensors also where the first who asks is a prediction of memory, whose tensors have no values, or
    in inference mode, whose tensors cannot be trained with.
    """

    @cache
    @wraps(make)
    def made(dtype: torch.dtype, device: torch.device) -> Tensor:
        with _disable_current_modes(), torch.inference_mode(False):
            return make(dtype, device)

    return made
