"""Batch norm on a CPU with a fast second derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MAP = (0, 2, 3)
"""The dimensions of a channel's statistics."""


class Normalise(torch.autograd.Function):
    """Batch norm in training mode (Ioffe and Szegedy, ICML 2015); value and gradient are torch's.

    The second derivative is in closed form, as torch's makes many passes, summing over one axis at a time (times in
    LOG.md). The incoming gradient is converted to the memory format of x, as torch is several times slower if they
    differ.

    Arguments of `apply`: x (N, C, H, W); weight and bias (C,), or None; running_mean and running_var (C,), updated with
    `momentum` in [0, 1]; eps, added to the variance. Returns (N, C, H, W).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, mean, scale = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        g = g.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        return (*Derivative.apply(g, x, weight, mean, scale, ctx.eps), None, None, None, None)


class Derivative(torch.autograd.Function):
    """The gradients with respect to x (N, C, H, W), weight (C,) and bias (C,), from g, the gradient with respect to y.

    mean and scale, 1/√(variance + eps), are those of x (C,). With h = (x - mean)·scale and M the mean over a map: for x
    it is weight·scale·(g - M(g) - h·M(gh)), for the weight the sum of gh, for the bias that of g.
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor, eps: float
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        ctx.save_for_backward(g, x, weight, mean, scale)
        ctx.eps = eps
        wanted = [True, weight is not None, weight is not None]
        return torch.ops.aten.native_batch_norm_backward(g, x, weight, None, None, mean, scale, True, eps, wanted)

    @staticmethod
    def backward(ctx: Any, u: Tensor, v: Tensor | None, s: Tensor | None) -> tuple[Tensor | None, ...]:
        """u, v and s: gradients with respect to the three. Every sum over a map is of g, gh, u, uh or ug."""
        g, x, weight, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # a third derivative: the statistics depend on x
            var, mean = torch.var_mean(x.to(scale.dtype), MAP, correction=0)
            scale = (var + ctx.eps).rsqrt()

        def wide(channels: Tensor) -> Tensor:
            return channels[:, None, None]

        def weighted(constant: Tensor, *parts: tuple[Tensor, Tensor]) -> Tensor:
            """Sums a constant and weighted maps per channel, with one pass over memory for each map."""
            total = wide(constant)
            for factor, maps in parts:
                total = torch.addcmul(total, wide(factor), maps)
            return total

        h = weighted(-mean * scale, (scale, x))
        P, Q, U, V, UG = ((a.mean(MAP, dtype=scale.dtype)) for a in (g, g * h, u, u * h, u * g))
        common = UG - U * P - V * Q
        ws = scale if weight is None else weight * scale
        v = torch.zeros_like(P) if v is None else v
        s = torch.zeros_like(P) if s is None else s
        for_g = weighted(s - ws * U, (ws, u), (v - ws * V, h))
        # Through h and its scale.
        constant, of_h = ws * (U * Q + V * P) - v * P, 2 * ws * V * Q - v * Q - ws * common
        parts = (-ws * Q, u), (v - ws * V, g), (of_h, h)
        for_x = weighted(scale * constant, *((scale * factor, maps) for factor, maps in parts))
        for_weight = None if weight is None else common * scale * (x.numel() // len(P))
        return for_g.to(g.dtype), for_x.to(x.dtype), for_weight, None, None, None
