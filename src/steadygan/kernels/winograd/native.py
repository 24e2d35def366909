"""Stencils as machine code: each line is read and written once, and sums are float32 until they are stored.

torch's operators make one pass over memory for each sum; this makes one for all (docs/speed.md has what that gains).
The C source is written from the stencils, built by the system's C compiler at first use (seconds) and kept in the cache
folder. Without a compiler, or for what the code is not written for, torch's operators do the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from steadygan.errors import UserError
from steadygan.files import cache_root, write_whole
from steadygan.kernels.winograd.c_code import ADD, HEAD, WIDTH, write_stencil
from steadygan.kernels.winograd.stencils import Stencil

C_TYPES = {torch.float32: "float", torch.bfloat16: "uint16_t"}
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-Wno-psabi")  # vectors never leave the code


def run(
    stencil: Stencil,
    source: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    rectify: bool = False,
    mask: Tensor | None = None,
) -> None:
    """What `stencil` does, called with the rest; the target may be of another type than the source."""
    kinds, options = (source.dtype, target.dtype), (rectify, bias is not None, mask is not None)
    code = _code(stencil, kinds, options) if suits(source, target, mask) else None
    if code is None:
        stencil(source, target, bias, rectify=rectify, mask=mask)
    elif not isinstance(source, FakeTensor):  # which has no numbers to add
        _run_code(code, source, target, bias, mask)


def _run_code(code: ctypes.CDLL, source: Tensor, target: Tensor, bias: Tensor | None, mask: Tensor | None) -> None:
    line = source.new_zeros(source.shape[5])
    added = None if bias is None else bias.detach().float().contiguous()
    strides = (ctypes.c_int64 * 5)(*source.stride()[:5]), (ctypes.c_int64 * 5)(*target.stride()[:5])
    sizes = map(ctypes.c_int64, (*source.shape[:3], len(line)))
    tensors = (source, target, line, added, mask)
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    code.stencil(*pointers, *strides, *sizes, torch.get_num_threads())


@cache
def _code(
    stencil: Stencil, kinds: tuple[torch.dtype, torch.dtype], options: tuple[bool, bool, bool]
) -> ctypes.CDLL | None:
    source, target = (C_TYPES[kind] for kind in kinds)
    rectify, biased, masked = options
    return load(write_stencil(stencil, source, target, rectify=rectify, biased=biased, masked=masked))


def suits(source: Tensor, target: Tensor, mask: Tensor | None = None) -> bool:
    """Whether there is code for such tensors."""
    kind = source.device.type == "cpu" and source.dtype in C_TYPES and target.dtype in C_TYPES
    alike = mask is None or (mask.dtype is target.dtype and mask.stride() == target.stride())
    return kind and alike and source.shape[5] % WIDTH == 0 and source.stride(5) == target.stride(5) == 1


class BuildError(Exception):
    """No machine code can be made here; the message says why."""


@cache
def compiler() -> tuple[str, ...]:
    """The command that compiles C, with what its code depends on. Raises BuildError."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        raise BuildError(f"no C compiler ({' '.join(command) or 'CC is empty'})")
    return tuple(command)


def add_product(sums: Tensor, a: Tensor, b: Tensor) -> None:
    """sums (P, I, J) += a·b, of (P, I, K) and (P, K, J); sums may be float32 where the product is bfloat16."""
    if sums.dtype is a.dtype:
        torch.baddbmm(sums, a, b, out=sums)
        return
    terms = torch.bmm(a, b)
    mixed = (sums.dtype, terms.dtype) == (torch.float32, torch.bfloat16) and sums.device.type == "cpu"
    code = _adding() if mixed and sums.numel() % WIDTH == 0 and sums.is_contiguous() else None
    if code is None:
        sums += terms
    elif not isinstance(sums, FakeTensor):
        pointers = ctypes.c_void_p(sums.data_ptr()), ctypes.c_void_p(terms.data_ptr())
        code.add(*pointers, ctypes.c_int64(sums.numel()), torch.get_num_threads())


@cache
def _adding() -> ctypes.CDLL | None:
    return load(ADD)


def obstacle() -> str | None:
    """Why no machine code can be made here; None when it can."""
    try:
        build(HEAD + ADD)
    except BuildError as error:
        return str(error)
    return None


def load(*functions: str) -> ctypes.CDLL | None:
    """The library of these functions in C, None where it cannot be made.

    Warns when other code can: `obstacle` then says nothing of it.
    """
    try:
        return build(HEAD + "\n".join(functions))
    except BuildError as error:
        if obstacle() is None:
            warnings.warn(f"convolutions are slower, by torch operators: {error}", stacklevel=2)
        return None


def build(source: str) -> ctypes.CDLL:
    """The library of some C code, built or taken from the cache. Raises BuildError."""
    if sys.platform != "linux":
        raise BuildError(f"not on {sys.platform}")
    target = _run([*compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull])  # the processor and the version
    key = hashlib.sha256("\0".join((source, target, *compiler(), *FLAGS)).encode()).hexdigest()[:32]
    kept = cache_root() / "code" / f"{key}.so"
    if kept.is_file() and _ours(kept):
        try:
            return ctypes.CDLL(str(kept))
        except OSError:
            kept.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "code.so"
        made.with_suffix(".c").write_text(source)
        _run([*compiler(), *FLAGS, "-c", str(made.with_suffix(".c")), "-o", str(made.with_suffix(".o"))])
        # Linked without -fopenmp: torch has loaded an OpenMP, and a second one would have threads of its own.
        _run([*compiler(), "-shared", str(made.with_suffix(".o")), "-o", str(made)])
        try:
            library = ctypes.CDLL(str(made))
        except OSError as error:
            raise BuildError(f"the code cannot be loaded: {error}") from error
        try:
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(kept, lambda path: shutil.copyfile(made, path))
        except (OSError, UserError):
            pass  # built again by the next process
    return library


def _ours(path: Path) -> bool:
    """Whether nobody else can have written it."""
    return all(at.stat().st_uid == os.getuid() and not at.stat().st_mode & 0o022 for at in (path, path.parent))


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise BuildError(f"{command[0]} failed: {reason}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]}: {error}") from error
