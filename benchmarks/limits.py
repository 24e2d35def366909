"""A machine's description and peak arithmetic rate, for the shares in the rows of benchmarks/step.py."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def reachable(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product or of a 3×3 convolution of 384 channels, whichever is more, at its best."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in "ab")
    count = 256 if device.startswith("cuda") else 16
    x = torch.randn(count, 384, 16, 16, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    kernel = torch.randn(384, 384, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    product = 2 * side**3 / quickest(lambda: a @ b, device)
    convolution = 2 * x.numel() * kernel[0].numel() / quickest(lambda: F.conv2d(x, kernel, padding=1), device)
    return max(product, convolution)


def quickest(work: Callable[[], object], device: str) -> float:
    """Seconds."""
    times = []
    for _ in range(8):
        synchronise(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return min(times)


def machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()}-core CPU ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
