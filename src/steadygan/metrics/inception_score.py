"""The Inception score: a pure function of class logits."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

SHUFFLE_SEED = 2020


def inception_score(logits: Tensor, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over `splits` parts of exp E KL(p(y|x) ‖ p(y)), from logits (N, K), in [1, K].

    Salimans et al., NeurIPS 2016, §4. The images are shuffled with torch-fidelity's seed, so that fakes in order of
    class do not fill a part with one class. Raises ValueError for fewer images than parts.
    """
    n = len(logits)
    if logits.ndim != 2 or not 0 < splits <= n:
        raise ValueError(f"logits must be (N, K) with N ≥ {splits} splits, not {tuple(logits.shape)}")
    order = np.random.RandomState(SHUFFLE_SEED).permutation(n)
    log_p = logits.double()[torch.from_numpy(order)].log_softmax(1)
    scores = []
    for i in range(splits):
        part = log_p[i * n // splits : (i + 1) * n // splits]
        # In logarithms, as an absent class may have a probability of 1e-400.
        log_marginal = part.logsumexp(0) - math.log(len(part))
        scores.append((part.exp() * (part - log_marginal)).sum(1).mean().exp().item())
    return float(np.mean(scores)), float(np.std(scores))
