"""Devices and precisions of this machine, and the settings that make it fast."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from steadygan.errors import UserError, command_line

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step instead of returning it to the system at every tensor's end.

    Returning and faulting in pages again costs a CPU training step up to a third of its time. False where the C
    library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


def prepare(
    device: torch.device, *, tf32: bool, autotune: bool, threads: int | None = None, allocator: bool = True
) -> None:
    """Prepares this process for fast training on a device: memory allocator and kernels.

    Args:
        device: the device of the training.
        tf32: NVIDIA GPUs may round the factors of float32 products and convolutions to 10 bits.
        autotune: cuDNN times its ways to carry out a convolution when it first meets a shape, and keeps to the
            quickest.
        threads: of torch on a CPU, None to leave them as they are.
        allocator: on a CPU, arrange memory too (`keep_freed_memory`), which cannot be taken back: for a process that
            is there for the training alone.
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
def restored(device: torch.device) -> Iterator[None]:
    """Afterwards this process is as it was: its random numbers, and what `prepare` sets but for the allocator."""
    cuda, cudnn = device.type == "cuda", torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    threads = torch.get_num_threads()
    current = torch.cuda.current_device() if cuda else None
    with torch.random.fork_rng([device] if cuda else []):
        try:
            yield
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
    """The device a configuration asks for; `auto` takes an accelerator when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name}: {_why_not(name, error)}; `{command_line('doctor')}` lists devices") from error
    return device


def _why_not(name: str, error: Exception) -> str:
    """Why a device cannot be used, in words of this program: torch's are of its own making, and long."""
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        return "no device that is trained on here; it is auto, cpu, cuda, cuda:1 or mps"
    if kind == "mps" and not torch.backends.mps.is_available():
        return "this machine or this torch has no Metal (mps), which Apple's processors have"
    if kind == "cuda" and not torch.cuda.is_available():
        return "no NVIDIA GPU can be used here (none is there, its driver is missing, or torch was built without CUDA)"
    if kind == "cuda" and name != "cuda":
        return f"there are {torch.cuda.device_count()} GPUs, from cuda:0"
    return f"not usable here ({str(error).splitlines()[0][:200]})"


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """To what networks are rounded while they train on this device; None: float32 throughout."""
    if name == "float16":
        return torch.float16
    has = has_bfloat16(device.type)
    if name == "bfloat16" and not has:
        raise UserError(f"train.precision=bfloat16: {device} has no units for it; set train.precision=auto, or float16")
    return torch.bfloat16 if has and name != "float32" else None
