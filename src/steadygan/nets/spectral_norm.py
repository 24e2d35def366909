"""Spectral normalisation with one power iteration per optimiser phase."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.kernels.precision import without_autocast

WARM_UP_ITERATIONS = 15


@dataclass(frozen=True)
class Spectral:
    """Whether layers are spectrally normalised, and the ε that keeps the norms of u and v from zero."""

    on: bool = True
    eps: float = 1e-12


PLAIN = Spectral(on=False)
"""No spectral norm."""


class SpectralNorm(nn.Module):
    """Base of layers whose weight is divided by its largest singular value.

    W̄ = W / σ, σ = uᵀ W v, with W reshaped to (first dimension, −1) and u, v the persistent estimates of
    its first singular vectors (Miyato et al., Spectral Normalization, ICLR 2018, eq. 8 and Algorithm 1). u and v are
    constants of the graph, updated only by `advance_spectral_norm`, once per optimiser phase. So all passes of a phase
    use the same weight, and a forward pass changes no state.
    """

    weight: Tensor
    u: Tensor
    v: Tensor
    spectral_norm: bool
    sn_eps: float
    sn_gain: float = 1.0
    prepared: Tensor | None = None
    kept: Tensor | None = None  # see `prepared.prepared`, as for `made`
    made: tuple[object, ...] | None = None

    def _start_spectral_norm(self, spectral: Spectral) -> None:
        self.spectral_norm, self.sn_eps = spectral.on, spectral.eps
        if not spectral.on:
            return
        rows, columns = self.weight.flatten(1).shape
        self.register_buffer("u", F.normalize(self.weight.new_empty(rows).normal_(), dim=0, eps=spectral.eps))
        self.register_buffer("v", F.normalize(self.weight.new_empty(columns).normal_(), dim=0, eps=spectral.eps))
        advance_spectral_norm(self, WARM_UP_ITERATIONS)

    def normalised_weight(self) -> Tensor:
        """γ·W / σ where spectral norm is on, W where it is off; shaped like `weight`, differentiable in it."""
        if not self.spectral_norm:
            return self.weight
        # Clones, because u and v may advance before the backward pass that needs these.
        u, v = self.u.clone(), self.v.clone()
        with without_autocast(self.weight):
            return self.scaled(self.weight / u.dot(self.weight.flatten(1).mv(v)))

    def scaled(self, weight: Tensor) -> Tensor:
        """γ·W̄: the normalised weight times the gain of the layer."""
        return weight if self.sn_gain == 1 else self.sn_gain * weight

    @property
    def changes(self) -> bool:
        """Whether the layer's kernel differs from `weight`."""
        return self.spectral_norm

    def shaped(self, weight: Tensor) -> Tensor:
        """Converts the normalised weight to the layer's kernel."""
        return weight

    def kernel(self) -> Tensor:
        """The effective weight: computed now, or shared by the whole phase (`prepared.prepared`)."""
        return self.shaped(self.normalised_weight()) if self.prepared is None else self.prepared


def _unit(vectors: list[Tensor], eps: list[float]) -> list[Tensor]:
    norms = torch._foreach_clamp_min(torch._foreach_norm(vectors), eps)
    return list(torch._foreach_div(vectors, norms))


@torch.no_grad()
def advance_spectral_norm(module: nn.Module, iterations: int = 1) -> None:
    """Runs power iterations v ← Wᵀu / ‖Wᵀu‖, u ← Wv / ‖Wv‖ on every spectrally normalised layer in `module`.

    Call it once per optimiser phase (Miyato et al. 2018, Algorithm 1, does one per update).
    """
    layers = [m for m in module.modules() if isinstance(m, SpectralNorm) and m.spectral_norm]
    if not layers or layers[0].weight.is_meta:
        return
    with without_autocast(layers[0].weight):
        eps = [layer.sn_eps for layer in layers]
        matrices = [layer.weight.flatten(1) for layer in layers]
        u = [layer.u for layer in layers]
        for _ in range(iterations):
            v = _unit([matrix.t().mv(left) for matrix, left in zip(matrices, u, strict=True)], eps)
            u = _unit([matrix.mv(right) for matrix, right in zip(matrices, v, strict=True)], eps)
        if iterations:
            torch._foreach_copy_([layer.u for layer in layers], u)
            torch._foreach_copy_([layer.v for layer in layers], v)


@torch.no_grad()
def bake_spectral_norm(module: nn.Module) -> None:
    """Replaces spectral norm by the normalised weight in every layer of `module`, for inference."""
    for layer in module.modules():
        if isinstance(layer, SpectralNorm) and layer.spectral_norm:
            layer.weight.copy_(layer.normalised_weight())
            layer.spectral_norm, layer.prepared = False, None
            del layer.u, layer.v
