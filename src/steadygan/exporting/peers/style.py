"""Shared by the two layouts of StyleGAN2."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from steadygan.nets.modulated import Resample

State = dict[str, Tensor]


def filter_kernel(gain: float = 1.0) -> Tensor:
    """The 4×4 filter [1, 3, 3, 1], which both store in every resampling layer."""
    return Resample().kernel[0, 0] * gain


def count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """The number of consecutive names `pattern` with 0, 1, …."""
    found = 0
    while pattern.format(found) in tensors:
        found += 1
    return found


class Writer:
    """Moves the tensors of our generator, one by one, to the file's layout."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors, self.out = dict(tensors), State()

    def has(self, name: str) -> bool:
        return name in self.tensors

    def move(self, key: str, name: str, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
        """Moves our tensor `name` to `key`."""
        self.out[key] = change(self.tensors.pop(name)).contiguous()

    def dense(self, key: str, name: str) -> None:
        for part in ("weight", "bias"):
            self.move(f"{key}.{part}", f"{name}.{part}")

    def finish(self) -> State:
        assert not self.tensors, f"no place for {min(self.tensors)}"
        return self.out
