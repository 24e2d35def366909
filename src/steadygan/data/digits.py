"""The embedded data: scikit-learn's handwritten digits, alone and stacked into 1,000 modes."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

EMBEDDED = ("digits", "stacked-digits")
STACKED_IMAGES = 20_000


@cache
def _digits(size: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in small]
    return np.stack(large)[:, None], bunch.target.astype(np.int64)


def digits(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 8×8 digits of scikit-learn, enlarged (bicubic) to `size`.

    Returns images (1797, 1, size, size) uint8, 0 = background, and labels (1797,) int64 in 0..9.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (test part).
    """
    images, labels = _digits(size)
    return images.copy(), labels.copy()


def stacked_digits(size: int = 32, count: int = STACKED_IMAGES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three random digits as the three channels of one image: 1,000 equally likely modes.

    After Stacked MNIST (Metz et al., Unrolled GANs, ICLR 2017, §3.3.1), with the embedded digits.
    Returns images (count, 3, size, size) uint8 and modes (count,) int64 in 0..999, where mode = 100·R + 10·G + B.
    """
    images, labels = _digits(size)
    choice = np.random.default_rng(seed).integers(len(images), size=(count, 3))
    return images[choice, 0], labels[choice] @ np.array([100, 10, 1])
