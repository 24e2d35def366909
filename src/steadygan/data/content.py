"""The fingerprint of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def fingerprint(images: Iterable[np.ndarray], labels: Iterable[int] | None = None) -> str:
    """SHA-256 (hex) of the content: (C, H, W) uint8 images in order, their number and shape, and the labels.

    An (N, C, H, W) array and any iterable over its images have the same fingerprint; names are ignored. With several
    shapes, each shape is included. The labels are read after the last image.
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
