"""Mode coverage, class agreement and diversity: pure functions of features and logits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STACKED_MODES = 1000


class ModeCoverage(NamedTuple):
    """`modes`: how many of the 1,000 were generated at least once; `kl`: KL(fakes ‖ reference) in nats."""

    modes: int
    kl: float


def class_agreement(logits: Tensor, asked: Tensor) -> float:
    """Fraction in [0, 1] of images classified (logits (N, K)) as the requested class `asked` (N,).

    Raises:
        ValueError: the shapes do not match.
    """
    if logits.ndim != 2 or asked.shape != logits.shape[:1] or not len(asked):
        shapes = f"{tuple(logits.shape)} and {tuple(asked.shape)}"
        raise ValueError(f"logits must be (N, K) and labels (N,), not {shapes}")
    return (logits.argmax(1) == asked.to(logits.device)).double().mean().item()


def mean_pairwise_distance(x: Tensor, chunk: int = 1024) -> float:
    """Mean Euclidean distance over all pairs of rows of x (N, F), N ≥ 2, in memory of order chunk · N.

    Raises:
        ValueError: N is less than 2.
    """
    n = len(x)
    if n < 2:
        raise ValueError(f"a pairwise distance needs at least 2 samples, got {n}")
    x = x.double()
    # Not by matrix product, which loses small distances, and collapse means small distances.
    exact = "donot_use_mm_for_euclid_dist"
    total = sum(torch.cdist(rows, x, compute_mode=exact).sum().item() for rows in x.split(chunk))
    return total / (n * (n - 1))


def class_spread(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean pairwise distance within each class, (classes,) float64.

    From features (N, F) and labels (N,) in 0..classes-1. Raises ValueError if a class has fewer than 2 samples.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        shapes = f"{tuple(features.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"features must be (N, F) and labels (N,), not {shapes}")
    counts = torch.bincount(labels, minlength=classes)
    if len(counts) > classes or counts.min() < 2:
        raise ValueError(f"each of {classes} classes needs at least 2 samples, not {counts.tolist()}")
    spread = [mean_pairwise_distance(features[labels == label]) for label in range(classes)]
    return torch.tensor(spread, dtype=torch.float64)


def intra_class_diversity(
    features_fake: Tensor, labels_fake: Tensor, features_real: Tensor, labels_real: Tensor
) -> float:
    """Mean over classes of (mean pairwise distance among a class's fakes ÷ the same among its reals).

    1: as diverse as the reals; 0: one image per class. The classes are 0 to the reals' largest label.

    Args:
        features_fake: (N, F).
        labels_fake: (N,).
        features_real: (M, F).
        labels_real: (M,).

    Raises:
        ValueError: a class has fewer than 2 fakes or reals, or all its reals are the same.
    """
    classes = int(labels_real.max()) + 1
    fake = class_spread(features_fake, labels_fake, classes)
    real = class_spread(features_real, labels_real, classes)
    if real.min() == 0:
        raise ValueError(f"all reals of class {int(real.argmin())} are the same: nothing to compare with")
    return (fake / real).mean().item()


def stacked_modes(logits: Tensor, reference: Tensor | None = None) -> ModeCoverage:
    """Mode coverage of stacked digits, from the logits (N, 3, 10) of the three channels.

    Image i is in mode 100·r + 10·g + b of the digits classified in its channels; p(m) is the fraction of images in mode
    m, and kl = Σ_m p(m) ln(p(m) / q(m)) over the modes with p(m) > 0, q = 1/1000 or `reference` (1000,), which is
    normalised; ∞ if a mode is generated that q lacks. Metz et al., Unrolled GANs, ICLR 2017, §3.3.1, and Lin et al.,
    PacGAN, NeurIPS 2018, §4.2 ("reverse KL"). The estimate is biased: N images drawn from q itself score about 999 / 2N
    (0.05 for 10,000), so compare only at equal N.

    Raises:
        ValueError: logits or reference have another shape, or a weight is negative.
    """
    if logits.ndim != 3 or logits.shape[1:] != (3, 10) or not len(logits):
        raise ValueError(f"logits must be (N, 3, 10), not {tuple(logits.shape)}")
    read = logits.argmax(2).cpu() @ torch.tensor([100, 10, 1])
    counts = torch.bincount(read, minlength=STACKED_MODES).double()
    q = torch.ones(STACKED_MODES) if reference is None else reference.cpu()
    if q.shape != (STACKED_MODES,) or q.min() < 0 or q.sum() <= 0:
        raise ValueError("the reference must be 1,000 non-negative weights")
    p, q = counts / counts.sum(), q.double() / q.double().sum()
    kl = torch.special.xlogy(p, p) - torch.special.xlogy(p, q)
    return ModeCoverage(int((counts > 0).sum()), kl.sum().item())
