"""Instruments of a run in addition to its losses. They are read-only and use no training random numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from steadygan.kernels.precision import without_autocast
from steadygan.parallel.share import unshared
from steadygan.training.answers import auc
from steadygan.training.state import TrainState

SINGULAR_VALUES = 3
EXACT_UP_TO = 256
"""Matrices with a longer shorter side than this use power iteration for their singular values."""
BLOCK, ITERATIONS = 16, 24
FAKE_IMAGES = 64
"""Number of fakes examined."""


def weight_matrices(net: nn.Module) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Yields every weight of a network: name, tensor, and the tensor as a matrix (outputs, all other dimensions).

    Covers convolutions, linear layers and embeddings, by the layer's name (`blocks.0.conv1`). Weights are the stored
    ones: before spectral normalisation and the scaling of equalised learning rates.
    """
    for name, module in net.named_modules():
        for key in ("weight", "embedding"):
            weight = module._parameters.get(key)
            if weight is None or weight.ndim < 2:
                continue
            layer = name if key == "weight" else f"{name}.{key}".lstrip(".")
            matrix = weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else weight
            yield layer, weight, matrix.detach().flatten(1)


@torch.no_grad()
def singular_values(matrix: Tensor, count: int = SINGULAR_VALUES) -> Tensor:
    """The largest `count` singular values, descending; fewer if the matrix has fewer, NaN if it is not finite.

    Large matrices: block power iteration with QR after each product, from a fixed start block, then the singular values
    within that block (Halko et al., SIAM Review 2011, alg. 4.4). Small matrices: exact.
    """
    with without_autocast(matrix):
        broken = 0 * matrix.float().sum()  # svdvals raises an error for non-finite elements
        matrix = matrix.float().nan_to_num(0, 0, 0)
        if min(matrix.shape) > EXACT_UP_TO:
            start = torch.randn(matrix.shape[1], BLOCK, generator=torch.Generator().manual_seed(0)).to(matrix)
            basis = torch.linalg.qr(matrix @ start).Q
            for _ in range(ITERATIONS):
                basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis).Q).Q
            matrix = basis.t() @ matrix
        return torch.linalg.svdvals(matrix)[:count] + broken


def instability(nets: Mapping[str, nn.Module]) -> dict[str, Any]:
    """`sigma/NET/LAYER`: [σ₀, σ₁, σ₂] of each weight; `grad/NET/LAYER`: ‖∂L/∂W‖ in its network's last phase.

    Brock et al., Large Scale GAN Training, ICLR 2019, §4: in G the σ₀ of some layers explode when training collapses,
    in D they jump. Frozen weights have no gradient. Numbers as JSON has them, read from the device at once.
    """
    found: dict[str, Tensor] = {}
    for net, module in nets.items():
        weights = list(weight_matrices(module))
        found |= {f"sigma/{net}/{layer}": singular_values(matrix) for layer, _, matrix in weights}
        for layer, weight, _ in weights:
            if weight.grad is not None:
                found[f"grad/{net}/{layer}"] = get_total_norm([weight.grad]).reshape(1).float()
    read = torch.cat(list(found.values())).cpu().split([len(values) for values in found.values()])
    numbers = {key: [json_number(value) for value in values.tolist()] for key, values in zip(found, read, strict=True)}
    return {key: value if key.startswith("sigma/") else value[0] for key, value in numbers.items()}


def json_number(value: float) -> float | None:
    """Rounds to six digits; None for NaN and infinity, which JSON lacks."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def spread(images: Tensor) -> Tensor:
    """The root mean square of the L2 distances over all pairs of images (N, …).

    Computed as √(2 Σ variances), in one pass.
    """
    return (2 * images.flatten(1).var(0).sum()).sqrt()


@torch.no_grad()
def look_at_fakes(
    state: TrainState,
    *,
    seed: int,
    boundary: float | None,
    reals_spread: Tensor,
    labels: Tensor | None = None,
    real: Tensor | None = None,
) -> dict[str, float]:
    """Computes `G_diversity`, `D_accuracy_fake` and `D_auc_fake` on 64 latents that stay fixed throughout the run.

    G_diversity: `spread` of the images of G (raw weights, evaluation mode) relative to the reals'. D_accuracy_fake: the
    fraction that D classifies as fake. D_auc_fake: how often D ranks a real above a fake.

    Args:
        state: the run.
        seed: of the latents.
        boundary: the logit above which D predicts real; None: no D_accuracy_fake.
        reals_spread: `spread` of the reals, ().
        labels: the reals' labels (N,), which the fakes get too, so that a D that uses the label alone stays at chance;
            None: labels from the prior.
        real: D's logits on the reals, (N,); None: no D_auc_fake.
    """
    generator = torch.Generator(state.device).manual_seed(seed)
    z = state.objective.prior.latents(FAKE_IMAGES, generator)
    y = state.objective.prior.labels(FAKE_IMAGES, generator)
    if y is not None and labels is not None:
        y = labels[torch.arange(FAKE_IMAGES, device=labels.device) % len(labels)]
    with reading(state.nets["G"], state.nets["D"]):
        images = state.nets["G"](z, y)
        found = {"G_diversity": float(spread(images) / reals_spread)}
        if boundary is not None or real is not None:
            logit = state.nets["D"](images, y).logit
        if boundary is not None:
            found["D_accuracy_fake"] = float((logit <= boundary).float().mean())
        if real is not None:
            found["D_auc_fake"] = auc(real, logit)
    return found


@contextmanager
def reading(*nets: nn.Module) -> Iterator[None]:
    """Context manager: networks in evaluation mode, without updates of running statistics; restores their modes.

    Batches inside are local to this process.
    """
    modes = [net.training for net in nets]
    for net in nets:
        net.eval()
    try:
        with unshared(nn.ModuleList(nets)):
            yield
    finally:
        for net, mode in zip(nets, modes, strict=True):
            net.train(mode)
