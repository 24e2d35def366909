"""Constants are ordinary tensors, whichever caller requests them first."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from steadygan.transforms.constants import constant


def test_a_constant_is_made_once_and_has_values_whoever_asks_first() -> None:
    made = []

    @constant
    def taps(dtype: torch.dtype, device: torch.device) -> Tensor:
        made.append(dtype)
        return torch.tensor([1.0, 2.0]).to(device, dtype)

    cpu = torch.device("cpu")
    with FakeTensorMode():
        first = taps(torch.float32, cpu)
    assert not isinstance(first, FakeTensor)
    assert first.tolist() == [1, 2]
    with torch.inference_mode():
        second = taps(torch.float64, cpu)
    assert not second.is_inference()
    assert taps(torch.float32, cpu) is first
    assert made == [torch.float32, torch.float64]
