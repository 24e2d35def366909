"""The kernel distance (KID on the TF-2015 Inception): a pure function of features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SUBSET_SEED = 2020


def kernel_distance(
    fakes: Tensor, reals: Tensor, subsets: int = 100, subset_size: int = 1000, device: str | torch.device = "cpu"
) -> tuple[float, float]:
    """Unbiased MMD² with kernel (x·y / F + 1)³, over random subsets; may be slightly negative.

    Bińkowski et al., Demystifying MMD GANs, ICLR 2018, §4. The subsets are those of torch-fidelity.

    Args:
        fakes: features (N, F).
        reals: features (M, F).
        subsets: number of subsets.
        subset_size: rows of each side in a subset.
        device: the device for matrix products.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        ValueError: a side has fewer images than `subset_size`.
    """
    if min(len(fakes), len(reals)) < subset_size or subset_size < 2:
        raise ValueError(f"subsets of {subset_size} (2 or more) from {len(fakes)} fakes and {len(reals)} reals")
    random = np.random.RandomState(SUBSET_SEED)
    values = []
    for _ in range(subsets):
        x, y = (
            side[torch.from_numpy(random.choice(len(side), subset_size, replace=False))].to(device)
            for side in (fakes, reals)
        )
        within = sum((kernel.sum() - kernel.diagonal().sum()).item() for kernel in (_kernel(x, x), _kernel(y, y)))
        across = _kernel(x, y).mean().item()
        values.append(within / (subset_size * (subset_size - 1)) - 2 * across)
    return float(np.mean(values)), float(np.std(values))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    # The product is float32, like the features; cube and sums are float64, because they cancel.
    return ((x @ y.mT).double() / x.shape[1] + 1) ** 3
