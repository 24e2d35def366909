"""Which images are trained on, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

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


def fingerprint(images: Iterable[np.ndarray], labels: Iterable[int] | None = None) -> str:
    """SHA-256 (hex) of the content: (C, H, W) uint8 images one by one, how many, their shape, and the labels.

    An (N, C, H, W) array and any iterable over its images have the same fingerprint; names play no part. Images of
    several shapes are told apart by them. The labels are iterated over after the last image.
    """
    digest, count, shape = hashlib.sha256(), 0, None
    for image in images:
        if shape not in (None, image.shape):
            digest.update(repr((shape, image.shape)).encode())
        digest.update(np.asarray(image, np.uint8).tobytes())
        count, shape = count + 1, image.shape
    digest.update(repr((count, shape, labels is not None)).encode())
    if labels is not None:
        digest.update(np.fromiter(labels, "<i8").tobytes())
    return digest.hexdigest()
