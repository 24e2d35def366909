"""Networks on the meta device without initial weights, for the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Unfilled(TorchFunctionMode):
    """Context manager: skips initialisation, which is not needed for shapes and would load torch's compiler."""

    FILLS = ("normal_", "uniform_", "orthogonal_", "xavier_uniform_", "kaiming_uniform_", "normalize")
    SCALES = ("div", "__truediv__", "true_divide")

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.FILLS:
            return args[0] if args else next(iter(kwargs.values()))
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func is torch.outer:
            return torch.empty(len(args[0]), len(args[1]))
        if getattr(func, "__name__", "") in self.SCALES and not isinstance(args[1], Tensor):
            return args[0]
        return func(*args, **kwargs)
