"""Instruments of a run besides its losses. They only read: they draw no training random number and change nothing."""

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
"""A matrix whose shorter side is longer than this has its singular values iterated for."""
BLOCK, ITERATIONS = 16, 24
FAKE_IMAGES = 64
"""How many fakes are looked at."""


def weight_matrices(net: nn.Module) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Every weight of a network: its name, itself, and as the matrix (outputs, everything else) it acts as.

    Weights are those of convolutions, dense layers and embeddings, by the name of their layer (`blocks.0.conv1`), as
    they are stored: before spectral norm divides and before equalised learning rates scale them.
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
    """The largest `count` singular values (count,), falling; all of a matrix with fewer, NaN of one that is not finite.

    Block power iteration with a Gram-Schmidt step (QR) after each product, from a block that is the same every time,
    then the singular values within the block found (Halko et al., SIAM Review 2011, alg. 4.4). Small matrices exactly.
    """
    with without_autocast(matrix):
        broken = 0 * matrix.float().sum()  # NaN when an element is not finite, which svdvals would not take
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
    """To six digits; JSON has no NaN or infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def spread(images: Tensor) -> Tensor:
    """How far apart two of the images (N, …) are: the root mean square of their L2 distances over all pairs.

    That is √(2 Σ variances), in one pass over the images.
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
    """`G_diversity`, `D_accuracy_fake` and `D_auc_fake`, of the same 64 latents all run long.

    G_diversity: `spread` of the images that G, as it is and in evaluation mode, makes of them, as a share of the
    reals'. D_accuracy_fake: the share of them that D takes for fakes; left out without a `boundary`. labels (N,): those
    of the reals, which the first fakes then have too, so that a D which reads the label alone tells nothing apart; else
    the prior's. D_auc_fake: how often D ranks a real, of which `real` (N,) are the logits, above a fake.
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
    """Networks in evaluation mode, in which no running statistic moves, then back in the mode they were in.

    What they are called with inside is a batch by itself, whatever other processes do.
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
