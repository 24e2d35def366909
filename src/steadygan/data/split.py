"""Splits images into training and held-out ones."""

from __future__ import annotations

import numpy as np

from steadygan.errors import UserError


def split(
    n: int,
    heldout: float,
    fraction: float = 1.0,
    seed: int = 0,
    max_images: int | None = None,
    labels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Splits n images into sorted indices (train, held-out), a function of the arguments alone.

    Args:
        n: number of images.
        heldout: a fraction of n (float) or a count (int), set aside before `fraction` applies.
        fraction: fraction of the rest to train on, in (0, 1]; for one seed, smaller subsets are contained in larger
            ones.
        seed: random seed.
        max_images: maximum number of training images.
        labels: (n,); every class keeps a training image if possible. Otherwise they do not affect the split.

    Raises:
        UserError: nothing is left to train on.
    """
    count = heldout if isinstance(heldout, int) else round(n * heldout)
    if not 0 <= count < n:
        raise UserError(f"holding out {heldout} of {n} images leaves no training images: lower data.heldout")
    if not 0 < fraction <= 1:
        raise UserError(f"data.fraction must be over 0 and at most 1, not {fraction}")
    kept = min(round(fraction * (n - count)), n if max_images is None else max_images)
    if kept < 1:
        raise UserError(f"data.fraction {fraction} of {n - count} images is 0: raise it or data.max_images")
    order = np.random.default_rng(seed).permutation(n)
    if labels is not None and count:
        order = _keeping_classes(order, count, labels)
    return np.sort(order[count : count + kept]), np.sort(order[:count])


def _keeping_classes(order: np.ndarray, count: int, labels: np.ndarray) -> np.ndarray:
    """Swaps held-out images in `order` so that every class keeps a training image.

    The first `count` are held out. The order is kept if no class has an image to spare.
    """
    order, left = order.copy(), np.bincount(labels[order[count:]], minlength=labels.max() + 1)
    for lost in np.setdiff1d(labels[order[:count]], labels[order[count:]]):
        place = int(np.flatnonzero(labels[order[:count]] == lost)[-1])
        several = np.flatnonzero(left[labels[order[count:]]] > 1)
        if not len(several):
            break
        other = count + int(several[0])
        order[[place, other]] = order[[other, place]]
        left[labels[order[place]]] -= 1
        left[lost] += 1
    return order
