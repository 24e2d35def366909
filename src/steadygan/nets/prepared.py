"""Weights prepared once for all passes of a phase: divided by their singular value, folded, laid out.

Inside a phase a prepared kernel is a leaf of the graph: it accumulates the gradients of every pass and micro-batch.
These are propagated to the parameters once, at the end, in closed form for the spectral norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from steadygan.kernels.precision import without_autocast
from steadygan.nets.spectral_norm import SpectralNorm


class Normalise(torch.autograd.Function):
    """W̄ = W / (uᵀ W v) for many weights at once, u and v constant; differentiable once.

    dL/dW = (g - ⟨g, W̄⟩·u vᵀ) / σ for g = dL/dW̄ (Miyato et al., Spectral Normalization, ICLR 2018, eq. 10 to 12).
    """

    @staticmethod
    def forward(ctx: Any, left: Sequence[Tensor], right: Sequence[Tensor], *weights: Tensor) -> tuple[Tensor, ...]:
        sigmas = [u.dot(w.flatten(1).mv(v)) for u, w, v in zip(left, weights, right, strict=True)]
        normalised = torch._foreach_div(weights, sigmas)
        ctx.save_for_backward(*left, *right, *sigmas, *normalised)
        ctx.set_materialize_grads(False)  # an unused layer has no gradient, and Adam skips it
        return tuple(normalised)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        count, reached = len(grads), [i for i, grad in enumerate(grads) if grad is not None]
        columns = [grads, *(ctx.saved_tensors[i * count : (i + 1) * count] for i in range(4))]
        g, left, right, sigmas, normalised = ([column[i] for i in reached] for column in columns)
        along = [product.sum() for product in torch._foreach_mul(g, normalised)]
        outer = [torch.outer(u, v) for u, v in zip(torch._foreach_mul(left, along), right, strict=True)]
        outer = [matrix.view_as(grad) for matrix, grad in zip(outer, g, strict=True)]
        found = dict(zip(reached, torch._foreach_div(torch._foreach_sub(g, outer), sigmas), strict=True))
        return None, None, *(found.get(i) for i in range(count))


@contextmanager
def prepared(nets: Iterable[nn.Module], *, keep: bool = True) -> Iterator[None]:
    """Context manager: all passes of these networks share prepared kernels; at exit, parameters receive gradients.

    keep: reuse the kernels of a frozen network until its weights change, as shown by tensors' version counters. Do not
    use it if weights change without them (the replay of a CUDA graph).
    """
    layers = [layer for net in nets for layer in net.modules() if isinstance(layer, SpectralNorm) and layer.changes]
    stale = [layer for layer in layers if not keep or layer.weight.requires_grad or layer.made != _version(layer)]
    kernels = make_kernels(stale)
    for layer, kernel in zip(stale, kernels, strict=True):
        layer.kept, layer.made = kernel.detach().requires_grad_(kernel.requires_grad), _version(layer)
    for layer in layers:
        layer.prepared = layer.kept
    try:
        yield
        grads = [None if layer.kept is None else layer.kept.grad for layer in stale]
        reached = [(kernel, grad) for kernel, grad in zip(kernels, grads, strict=True) if grad is not None]
        if reached:
            torch.autograd.backward([kernel for kernel, _ in reached], [grad for _, grad in reached])
    finally:
        for layer in layers:
            layer.prepared = None
            if layer.weight.requires_grad or not keep:
                layer.kept = layer.made = None


def make_kernels(layers: Sequence[SpectralNorm]) -> list[Tensor]:
    """The effective weight of each layer, with a graph if the weight is trained."""
    weights = {layer: layer.weight for layer in layers}
    for trained in (
        True,
        False,
    ):  # one call each: with a shared call, a gradient needed for one input would be computed for all
        group = [layer for layer in layers if layer.spectral_norm and layer.weight.requires_grad is trained]
        if group:
            with without_autocast(group[0].weight):
                left, right = [layer.u for layer in group], [layer.v for layer in group]
                weights |= zip(group, Normalise.apply(left, right, *(layer.weight for layer in group)), strict=True)
    return [layer.shaped(layer.scaled(weight)) for layer, weight in weights.items()]


def _version(layer: SpectralNorm) -> tuple[object, ...]:
    """A value that changes whenever the layer's kernel does."""
    tensors = (layer.weight, layer.u, layer.v) if layer.spectral_norm else (layer.weight,)
    return tuple((tensor._version, tensor.dtype, tensor.device) for tensor in tensors)
