"""Stencils as compiled kernels: each line is read and written once, with float32 sums.

torch's operators make one pass over memory per sum; this makes one for all (docs/speed.md has the gain). The C source
is generated from the stencils and compiled by `kernels.compiled`; at first use each function is compared with torch's
operators. These replace it if nothing can be compiled and in unsupported cases.
"""

from __future__ import annotations

import ctypes
import warnings

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from steadygan.kernels import compiled
from steadygan.kernels.compiled import BuildError, NotBuiltError, WrongCodeError
from steadygan.kernels.winograd.c_code import ADD, HEAD, WIDTH, write_stencil
from steadygan.kernels.winograd.stencils import Stencil

C_TYPES = {torch.float32: "float", torch.bfloat16: "uint16_t"}
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Tolerance of a function's results against torch's, relative to the largest value."""
Key = tuple[Stencil, tuple[torch.dtype, torch.dtype], tuple[bool, bool, bool]] | None
"""Key of a function: a stencil, its types and options; None: `ADD`."""
_KNOWN: dict[Key, ctypes.CDLL | str] = {}
"""Compiled functions, or the reasons why they are missing."""


def run(
    stencil: Stencil,
    source: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    rectify: bool = False,
    mask: Tensor | None = None,
) -> None:
    """Applies `stencil` to a source.

    Args:
        stencil: the sums.
        source: tiles to read.
        target: tiles to write; may have another dtype than the source.
        bias: (C,), added; or None.
        rectify: read relu(source).
        mask: shaped like target, which is zero where it is not positive; or None.
    """
    kinds, options = (source.dtype, target.dtype), (rectify, bias is not None, mask is not None)
    code = _code((stencil, kinds, options)) if suits(source, target, mask) else None
    if code is None:
        stencil(source, target, bias, rectify=rectify, mask=mask)
    elif not isinstance(source, FakeTensor):  # only the shape is needed
        _run_code(code, source, target, bias, mask)


def _run_code(code: ctypes.CDLL, source: Tensor, target: Tensor, bias: Tensor | None, mask: Tensor | None) -> None:
    line = source.new_zeros(source.shape[5])
    added = None if bias is None else bias.detach().float().contiguous()
    strides = (ctypes.c_int64 * 5)(*source.stride()[:5]), (ctypes.c_int64 * 5)(*target.stride()[:5])
    sizes = map(ctypes.c_int64, (*source.shape[:3], len(line)))
    tensors = (source, target, line, added, mask)
    pointers = (ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in tensors)
    code.stencil(*pointers, *strides, *sizes, torch.get_num_threads())


def _code(key: Key) -> ctypes.CDLL | None:
    """The compiled function; None if torch's operators are used."""
    found = _find(key)
    return None if isinstance(found, str) else found


def _find(key: Key) -> ctypes.CDLL | str:
    """The compiled function, or the reason why it is missing. Retries one that is not compiled yet."""
    if key not in _KNOWN:
        found: ctypes.CDLL | str
        try:
            with _disable_current_modes(), torch.no_grad():  # real tensors, and arithmetic that is not counted
                found = _checked(key)
        except NotBuiltError as error:
            return str(error)
        except BuildError as error:
            found = str(error)
            # If nothing can be compiled, `obstacle` reports it.
            if isinstance(error, WrongCodeError) or (key is not None and obstacle() is None):
                warnings.warn(f"convolutions are slower, as they use torch's operators: {error}", stacklevel=2)
        _KNOWN[key] = found
    return _KNOWN[key]


def _checked(key: Key) -> ctypes.CDLL:
    """The compiled function, verified against torch's operators. Raises BuildError."""
    if key is None:
        source = HEAD + ADD
        name, test = "add", _test_adding
    else:
        stencil, kinds, options = key
        rectify, biased, masked = options
        types = (C_TYPES[kind] for kind in kinds)
        source = HEAD + write_stencil(stencil, *types, rectify=rectify, biased=biased, masked=masked)
        name, test = "stencil", lambda code: _test_stencil(code, stencil, kinds, options)
    code = compiled.library(source)
    if not hasattr(code, name):
        compiled.forget(source)
        raise WrongCodeError(f"the compiled code has no function {name}")
    error = test(code)
    if not error <= 1:
        compiled.forget(source)
        raise WrongCodeError(f"compiled code is wrong by {error:.3g} times the tolerance; CC names another compiler")
    return code


def _numbers(*shape: int, dtype: torch.dtype) -> Tensor:
    """Fixed numbers of both signs, exact in either type."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, device="cpu") * 37 % 61 - 30).div(16).reshape(shape).to(dtype)


def _test_stencil(
    code: ctypes.CDLL,
    stencil: Stencil,
    kinds: tuple[torch.dtype, torch.dtype],
    options: tuple[bool, bool, bool],
) -> float:
    """The error against torch's operators as a multiple of the tolerance, for edges and inner tiles."""
    rectify, biased, masked = options
    lines, sums, c = stencil.lines, len(stencil.sums), 2 * WIDTH
    source = _numbers(2, 3, 3, lines, lines, c, dtype=kinds[0])
    bias = _numbers(c, dtype=torch.float32) if biased else None
    mask = _numbers(2, 3, 3, sums, sums, c, dtype=kinds[1]) if masked else None
    found = torch.full((2, 3, 3, sums, sums, c), float("nan"), dtype=kinds[1], device="cpu")
    exact = torch.empty_like(found, dtype=torch.float32)
    stencil(source.float(), exact, bias, rectify=rectify, mask=mask)
    _run_code(code, source, found, bias, mask)
    return _distance(found, exact, kinds[1])


def _test_adding(code: ctypes.CDLL) -> float:
    sums, terms = _numbers(4 * WIDTH, dtype=torch.float32), _numbers(4 * WIDTH, dtype=torch.bfloat16).flip(0)
    exact = sums + terms
    code.add(ctypes.c_void_p(sums.data_ptr()), ctypes.c_void_p(terms.data_ptr()), ctypes.c_int64(len(sums)), 1)
    return _distance(sums, exact, torch.float32)


def _distance(found: Tensor, exact: Tensor, kind: torch.dtype) -> float:
    return float((found.float() - exact).abs().max() / exact.abs().max() / TOLERANCE[kind])


def suits(source: Tensor, target: Tensor, mask: Tensor | None = None) -> bool:
    """Whether compiled functions support these tensors."""
    kind = source.device.type == "cpu" and source.dtype in C_TYPES and target.dtype in C_TYPES
    alike = mask is None or (mask.dtype is target.dtype and mask.stride() == target.stride())
    return kind and alike and source.shape[5] % WIDTH == 0 and source.stride(5) == target.stride(5) == 1


def add_product(sums: Tensor, a: Tensor, b: Tensor) -> None:
    """sums (P, I, J) += a·b for (P, I, K) and (P, K, J); sums may be float32 with bfloat16 products."""
    if sums.dtype is a.dtype:
        torch.baddbmm(sums, a, b, out=sums)
        return
    terms = torch.bmm(a, b)
    mixed = (sums.dtype, terms.dtype) == (torch.float32, torch.bfloat16) and sums.device.type == "cpu"
    code = _code(None) if mixed and sums.numel() % WIDTH == 0 and sums.is_contiguous() else None
    if code is None:
        sums += terms
    elif not isinstance(sums, FakeTensor):
        pointers = ctypes.c_void_p(sums.data_ptr()), ctypes.c_void_p(terms.data_ptr())
        code.add(*pointers, ctypes.c_int64(sums.numel()), torch.get_num_threads())


def obstacle() -> str | None:
    """The reason why compiled kernels are missing; None if they are available. Compiles some within
    `compiled.building`."""
    found = _find(None)
    return found if isinstance(found, str) else None


def execution() -> dict[str, object]:
    """How this process computes Winograd transforms, as plain values for provenance.json."""
    reason = obstacle()
    functions = sum(not isinstance(code, str) for code in _KNOWN.values())
    return {"compiled": reason is None, "functions": functions, "reason": reason}
