"""Which images a run trains on, and which it holds out."""

from __future__ import annotations

import numpy as np

from steadygan.errors import UserError


def split(
    n: int, heldout: float, fraction: float = 1.0, seed: int = 0, max_images: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, held-out) of `n` images, a function of the arguments alone.

    `heldout` is a fraction of n (float) or a count (int), set aside first, whatever `fraction` is. `fraction`
    in (0, 1] of the remaining, at most `max_images`, is trained on; for one seed a smaller subset lies inside
    every larger one. Raises UserError if nothing is left to train on.
    """
    count = heldout if isinstance(heldout, int) else round(n * heldout)
    if not 0 <= count < n:
        raise UserError(f"holding out {heldout} of {n} images leaves none to train on: lower data.heldout")
    if not 0 < fraction <= 1:
        raise UserError(f"data.fraction must be over 0 and at most 1, not {fraction}")
    kept = min(round(fraction * (n - count)), n if max_images is None else max_images)
    if kept < 1:
        raise UserError(f"data.fraction {fraction} of {n - count} images is none: raise it or data.max_images")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count : count + kept]), np.sort(order[:count])
