"""3×3 convolutions of many channels with fewer multiplications, for processors.

A convolution is bilinear in its image and its kernel. It can be computed by transforming the image into sums of
neighbouring pixels, multiplying each of these with one matrix of sums of the kernel, and summing the products; with
suitable sums there are far fewer products than in direct convolution (Winograd, Arithmetic Complexity of Computations,
1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016). For C channels in and C' out, per
pixel of the (larger) image, in units of C·C':

| form | products | plain | folded |
|---|---|---|---|
| `QUADS`, F(4×4, 3×3) | 2.25 | 9 | |
| `PAIRS`, F(2×2, 3×3), where sides are no multiples of four | 4 | 9 | |
| `DOUBLING` of the image before the convolution; transposed, halving after it | 1.56 | 9 | 4 |

Only the order of summation differs from direct convolution. Rounded sums cost precision: one layer's errors are up to
3.7 times as large with `PAIRS` and `DOUBLING`, 7.4 times with `QUADS` (docs/speed.md shows the effect on gradients). A
form's maps to the output, to the input and to the kernel are each other's derivatives, so derivatives of any order
exist.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import Parameter
from torch.utils.weak import WeakTensorKeyDictionary

from steadygan.kernels.precision import rounded, without_autocast
from steadygan.kernels.winograd.forms import DOUBLING, PAIRS, QUADS, Form
from steadygan.kernels.winograd.native import add_product

LEAST_CHANNELS, LEAST_PIXELS = 64, 1024
"""Minimum sizes below which the transforms cost more than they save. Pixels: of all images in a batch, at the larger
size if resampled."""
CHUNK = 16 << 20
"""Bytes of transformed images per chunk, so that they stay in the processor's caches."""
_stands_for: ContextVar[float] = ContextVar("stands_for", default=1)
"""See `stands_for`."""
_KEPT: MutableMapping[Tensor, tuple[int, dict[tuple[Form, torch.dtype, bool], Tensor]]] = WeakTensorKeyDictionary()


def stands_for() -> float:
    """The factor by which to count this thread's arithmetic operations.

    1, except within convolutions of fake tensors, which execute only a part.
    """
    return _stands_for.get()


def form_for(x: Tensor) -> Form | None:
    """The form for images (N, C, H, W) and a 3×3 kernel with padding 1; None if none fits the sides."""
    return _first_of((QUADS, PAIRS), x, scale=1)


def doubling_for(x: Tensor, *, scale: int) -> Form | None:
    """The form for a convolution next to a doubling of sides; x is `scale` (1 or 2) times the smaller image's."""
    return _first_of((DOUBLING,), x, scale)


def _first_of(forms: tuple[Form, ...], x: Tensor, scale: int) -> Form | None:
    h, w = (side // scale for side in x.shape[2:])
    if len(x) * h * w * forms[0].scale ** 2 < LEAST_PIXELS or x.shape[2] % scale or x.shape[3] % scale:
        return None
    return next((form for form in forms if form.suits(h, w)), None)


def convolve(form: Form, x: Tensor, kernel: Tensor, bias: Tensor | None, *, rectify: bool = False) -> Tensor:
    """(N, C, H, W) → (N, C', scale·H, scale·W), of x's dtype, or autocast's.

    Args:
        form: the Winograd form.
        x: (N, C, H, W).
        kernel: (C', C, 3, 3) in full precision.
        bias: (C',), or None.
        rectify: convolve relu(x).
    """
    x = rounded(x)
    with without_autocast(x):
        return ToOutput.apply(form, x.permute(0, 2, 3, 1).contiguous(), kernel, bias, rectify).permute(0, 3, 1, 2)


def convolve_back(form: Form, y: Tensor, kernel: Tensor, bias: Tensor | None, *, rectify: bool = False) -> Tensor:
    """The transpose of `convolve` with respect to x: (N, C', scale·H, scale·W) → (N, C, H, W).

    Args:
        form: the Winograd form.
        y: (N, C', scale·H, scale·W).
        kernel: (C', C, 3, 3) in full precision.
        bias: (C,), added to the result; or None.
        rectify: use relu(y).
    """
    y = rounded(y)
    with without_autocast(y):
        x = ToInput.apply(form, y.permute(0, 2, 3, 1).contiguous(), kernel, rectify)
    return (x if bias is None else x.add_(bias.to(x.dtype))).permute(0, 3, 1, 2)


class ToOutput(torch.autograd.Function):
    """(x, kernel, bias) → y, of relu(x) with `rectify`."""

    @staticmethod
    def forward(
        ctx: Any, form: Form, x: Tensor, kernel: Tensor, bias: Tensor | None = None, rectify: bool = False
    ) -> Tensor:
        ctx.form, ctx.rectify = form, rectify
        ctx.save_for_backward(x, kernel)
        return _to_output(form, x, kernel, bias, rectify=rectify)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        form, rectify, (x, kernel), g = ctx.form, ctx.rectify, ctx.saved_tensors, g.contiguous()
        _, for_x, for_kernel, *rest = ctx.needs_input_grad
        by_x = by_kernel = None
        with without_autocast(g):
            by_bias = g.sum((0, 1, 2)).to(kernel.dtype) if any(rest) else None
            if torch.is_grad_enabled():
                by_x = _where_positive(x, ToInput.apply(form, g, kernel), rectify) if for_x else None
                by_kernel = ToKernel.apply(form, _rectified(x, rectify), g, kernel.dtype) if for_kernel else None
            elif for_x and for_kernel:
                by_x, by_kernel = _both(form, x, g, kernel, rectify)
            elif for_x:
                by_x = _to_input(form, g, kernel, mask=x if rectify else None)
            elif for_kernel:
                by_kernel = _to_kernel(form, _rectified(x, rectify), g, kernel.dtype)
        return None, by_x, by_kernel, by_bias, None


class ToInput(torch.autograd.Function):
    """(y, kernel) → x, the transpose of ToOutput as regards x; of relu(y) with `rectify`."""

    @staticmethod
    def forward(ctx: Any, form: Form, y: Tensor, kernel: Tensor, rectify: bool = False) -> Tensor:
        ctx.form, ctx.rectify = form, rectify
        ctx.save_for_backward(y, kernel)
        return _to_input(form, y, kernel, rectify=rectify)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        form, rectify, (y, kernel), g = ctx.form, ctx.rectify, ctx.saved_tensors, g.contiguous()
        _, for_y, for_kernel, *_ = ctx.needs_input_grad
        by_y = by_kernel = None
        with without_autocast(g):
            if torch.is_grad_enabled():
                by_y = _where_positive(y, ToOutput.apply(form, g, kernel), rectify) if for_y else None
                by_kernel = ToKernel.apply(form, g, _rectified(y, rectify), kernel.dtype) if for_kernel else None
            else:
                by_y = _to_output(form, g, kernel, mask=y if rectify else None) if for_y else None
                by_kernel = _to_kernel(form, g, y, kernel.dtype, rectify=rectify) if for_kernel else None
        return None, by_y, by_kernel, None


class ToKernel(torch.autograd.Function):
    """(x, y) → a kernel, the transpose of ToOutput as regards it."""

    @staticmethod
    def forward(ctx: Any, form: Form, x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.form = form
        ctx.save_for_backward(x, y)
        return _to_kernel(form, x, y, dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        form, (x, y), (_, for_x, for_y, _) = ctx.form, ctx.saved_tensors, ctx.needs_input_grad
        with without_autocast(g):
            by_x = ToInput.apply(form, y, g) if for_x else None
            return None, by_x, ToOutput.apply(form, x, g) if for_y else None, None


def _to_output(
    form: Form,
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    rectify: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """rectify: relu(x) in place of x. mask: zero where it is not positive."""
    factors = _factors(form, kernel, x.dtype, turned=True)
    y = x.new_empty(len(x), *(form.scale * side for side in x.shape[1:3]), factors.shape[2])
    for some_x, some_y, some_mask in _chunks(form, x, y, mask):
        form.transform_output(torch.bmm(form.transform_input(some_x, rectify), factors), some_y, bias, some_mask)
    return y


def _to_input(form: Form, y: Tensor, kernel: Tensor, *, rectify: bool = False, mask: Tensor | None = None) -> Tensor:
    """rectify: relu(y) in place of y. mask: zero where it is not positive."""
    factors = _factors(form, kernel, y.dtype)
    x = y.new_empty(len(y), *(side // form.scale for side in y.shape[1:3]), factors.shape[2])
    for some_x, some_y, some_mask in _chunks(form, x, y, mask):
        form.transform_input_transposed(
            torch.bmm(form.transform_output_transposed(some_y, rectify), factors), some_x, some_mask
        )
    return x


def _to_kernel(form: Form, x: Tensor, y: Tensor, dtype: torch.dtype, *, rectify: bool = False) -> Tensor:
    """rectify: relu(y) in place of y."""
    by_factors = _no_factors(form, x, y, dtype)
    for some_x, some_y in _chunks(form, x, y):
        add_product(
            by_factors, form.transform_output_transposed(some_y, rectify).transpose(1, 2), form.transform_input(some_x)
        )
    return form.kernel_of(by_factors)


def _both(form: Form, x: Tensor, y: Tensor, kernel: Tensor, rectify: bool) -> tuple[Tensor, Tensor]:
    """ToInput and ToKernel, with one transform of y for both; rectify: x went through a ReLU."""
    factors = _factors(form, kernel, y.dtype)
    by_x, by_factors = torch.empty_like(x), _no_factors(form, x, y, kernel.dtype)
    for some_x, some_y, some_by_x in _chunks(form, x, y, by_x):
        parts = form.transform_output_transposed(some_y)
        form.transform_input_transposed(torch.bmm(parts, factors), some_by_x, some_x if rectify else None)
        add_product(by_factors, parts.transpose(1, 2), form.transform_input(some_x, rectify))
    return by_x, form.kernel_of(by_factors)


def _factors(form: Form, kernel: Tensor, dtype: torch.dtype, *, turned: bool = False) -> Tensor:
    """form.factors, (P, C, C') if turned and (P, C', C) if not.

    Factors of an untrained kernel are cached for its lifetime, except those of a `Parameter`, which may live as long as
    the process.
    """
    keep = not (kernel.requires_grad or kernel.is_inference() or isinstance(kernel, Parameter))
    version, made = _KEPT.get(kernel, (None, {})) if keep else (None, {})
    if keep and version != kernel._version:
        _KEPT[kernel] = kernel._version, (made := {})
    if (key := (form, dtype, turned)) not in made:
        factors = form.factors(kernel, dtype)
        made[key] = factors.transpose(1, 2).contiguous() if turned else factors  # avoids a copy in every product
    return made[key]


def _rectified(x: Tensor, rectify: bool) -> Tensor:
    return F.relu(x) if rectify else x


def _where_positive(x: Tensor, g: Tensor, rectify: bool) -> Tensor:
    """The gradient through the ReLU."""
    return g.masked_fill(x <= 0, 0) if rectify else g


def _no_factors(form: Form, x: Tensor, y: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_zeros(form.parts, y.shape[3], x.shape[3], dtype=dtype)


def _chunks(form: Form, x: Tensor, *others: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Splits images into chunks; None for None. For fake tensors only the first chunk, which stands for the rest."""
    count = min(len(x), max(1, int(CHUNK / (form.growth * x[0].numel() * x.element_size()))))
    if isinstance(x, FakeTensor):
        before = _stands_for.set(len(x) / count)
        try:
            yield tuple(None if each is None else each[:count] for each in (x, *others))
        finally:
            _stands_for.reset(before)
        return
    pieces = -(-len(x) // count)
    yield from zip(*((None,) * pieces if each is None else each.split(count) for each in (x, *others)), strict=True)
