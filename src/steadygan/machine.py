"""Devices and precisions of this machine, and settings for speed."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from steadygan.errors import UserError, command_line

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for reuse instead of returning it to the system.

    Returning and faulting in pages takes up to a third of a training step on a CPU. Returns False with other C
    libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


def prepare(
    device: torch.device, *, tf32: bool, autotune: bool, threads: int | None = None, allocator: bool = True
) -> None:
    """Configures this process for fast training on a device: memory allocator and kernels.

    Args:
        device: the device that trains.
        tf32: NVIDIA GPUs may round the factors of float32 products and convolutions to 10 bits.
        autotune: cuDNN times its convolution algorithms for each new shape and uses the fastest.
        threads: torch threads on a CPU; None: unchanged.
        allocator: on a CPU, also call `keep_freed_memory`, which cannot be undone; for processes that only train.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu" and allocator:
        keep_freed_memory()
    if device.type != "cuda":
        return
    torch.cuda.set_device(device.index or 0)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = autotune


@contextmanager
def at_work(name: str, **settings: Any) -> Iterator[torch.device]:
    """Context manager: chooses a device (`choose_device`) and prepares this process for it (`prepare`).

    At its end it restores random states and the settings of `prepare`, except for the allocator.

    Args:
        name: see `choose_device`.
        settings: of `prepare`.

    Raises:
        UserError: the device cannot be used here.
    """
    device = choose_device(name)
    cuda, cudnn = device.type == "cuda", torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    threads = torch.get_num_threads()
    current = torch.cuda.current_device() if cuda else None
    with torch.random.fork_rng([device] if cuda else []):
        try:
            prepare(device, **settings)
            yield device
        finally:
            torch.set_float32_matmul_precision(before[0])
            cudnn.allow_tf32, cudnn.benchmark = before[1:]
            torch.set_num_threads(threads)
            if current is not None:
                torch.cuda.set_device(current)


def has_bfloat16(device: str) -> bool:
    """Whether a kind of device ("cpu", "cuda", "mps") multiplies bfloat16 in hardware."""
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.is_file() else ""
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def choose_device(name: str = "auto") -> torch.device:
    """The device for a configuration's `train.device`; `auto` prefers an accelerator.

    Raises:
        UserError: the device cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name}: {_why_not(name, error)}; `{command_line('doctor')}` lists devices") from error
    return device


def _why_not(name: str, error: Exception) -> str:
    """The reason why a device cannot be used, as torch's messages are long and technical."""
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        return "not supported; use auto, cpu, cuda, cuda:1 or mps"
    if kind == "mps" and not torch.backends.mps.is_available():
        return "this machine or this torch has no Metal (mps), which requires Apple silicon"
    if kind == "cuda" and not torch.cuda.is_available():
        return "no usable NVIDIA GPU (there is none, its driver is missing, or torch was built without CUDA)"
    if kind == "cuda" and name != "cuda":
        return f"there are {torch.cuda.device_count()} GPUs, starting with cuda:0"
    return f"not usable ({str(error).splitlines()[0][:200]})"


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype for training on this device; None: float32.

    Raises:
        UserError: the device does not support the precision.
    """
    if name == "float16":
        return torch.float16
    has = has_bfloat16(device.type)
    if name == "bfloat16" and not has:
        raise UserError(
            f"train.precision=bfloat16: {device} does not support it in hardware; set train.precision=auto, or float16"
        )
    return torch.bfloat16 if has and name != "float32" else None
