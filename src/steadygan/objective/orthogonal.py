"""Regularisers of a network's weights: terms without views."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from steadygan.objective.batch import ScoredBatch
from steadygan.objective.game import Game
from steadygan.objective.terms import Term
from steadygan.schedules import Weight


def ortho(game: Game, *, weight: Weight = 1e-4) -> tuple[Term, ...]:
    """β·Σ_W ‖WWᵀ ⊙ (1 - I)‖²_F over G's kernels (Brock et al., Large Scale GAN Training, ICLR 2019, §3.1).

    W is a kernel before spectral norm, reshaped to (first dimension, -1): different rows are pushed towards
    orthogonality, their lengths are not affected. Kernels are the parameters called `weight` with two or more
    dimensions; per-class tables (the shared embedding, conditional gains) are not included. β = 1e-4 is the paper's.
    The gradient is the formula's, 4β(WWᵀ ⊙ (1 - I))W; BigGAN-PyTorch implements it by hand with a factor 2, so its
    `G_ortho` is twice the `weight` here.

    Args:
        weight: β.
    """
    net = game.fake.net

    def penalty(b: ScoredBatch) -> Tensor:
        return torch.stack([_between_rows(kernel.flatten(1)) for kernel in _kernels(b.nets[net])]).sum()

    return (Term("ortho", "G", penalty, weight=weight),)


def _kernels(net: nn.Module) -> Iterator[Tensor]:
    for module in net.modules():
        kernel = getattr(module, "weight", None)
        if isinstance(kernel, nn.Parameter) and kernel.dim() >= 2 and not isinstance(module, nn.Embedding):
            yield kernel


def _between_rows(w: Tensor) -> Tensor:
    """Σ_{i≠j} ⟨w_i, w_j⟩² for the rows of w."""
    rows, columns = w.shape
    if rows <= columns:
        gram = w @ w.T
        return (gram - gram.diag().diag()).square().sum()
    # ‖WWᵀ‖ = ‖WᵀW‖, and a seed layer has many more rows than columns (BigGAN-128: 24,576 of 20).
    return (w.T @ w).square().sum() - w.square().sum(1).square().sum()
