"""The embedded data: handwritten digits, single and stacked into 1,000 modes.

`digits.npz` holds the 1,797 8×8 digits in 17 grey levels that scikit-learn ships as `load_digits`: E. Alpaydin and
C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998 (test part), CC BY 4.0.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from PIL import Image

from steadygan.data.free_memory import check_room

EMBEDDED = ("digits", "stacked-digits")
DIGITS, STACKED_IMAGES = 1797, 20_000


def _check(channels: int, count: int, size: int) -> None:
    copies = DIGITS + 2 * channels * count
    check_room(copies * size * size, f"the embedded digits of {size} pixels", "lower data.size (they have 8 pixels)")


@cache
def _digits(size: int) -> tuple[np.ndarray, np.ndarray]:
    with resources.files("steadygan.data").joinpath("digits.npz").open("rb") as file:
        stored = np.load(file)
        levels, labels = stored["images"], stored["labels"].astype(np.int64)
    small = np.rint(levels * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in small]
    return np.stack(large)[:, None], labels


def digits(size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 8×8 digits, enlarged (bicubic) to `size`.

    Returns images (1797, 1, size, size) uint8, 0 = background, and labels (1797,) int64 in 0..9.
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (test part).
    Raises UserError if they do not fit in memory.
    """
    _check(1, DIGITS, size)
    images, labels = _digits(size)
    return images.copy(), labels.copy()


def stacked_digits(size: int = 32, count: int = STACKED_IMAGES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three random digits as the three channels of one image: 1,000 equally likely modes.

    After Stacked MNIST (Metz et al., Unrolled GANs, ICLR 2017, §3.3.1), with the embedded digits.
    Returns images (count, 3, size, size) uint8 and modes (count,) int64 in 0..999, where mode = 100·R + 10·G + B.
    Raises UserError if they do not fit in memory.
    """
    _check(3, count, size)
    images, labels = _digits(size)
    choice = np.random.default_rng(seed).integers(len(images), size=(count, 3))
    return images[choice, 0], labels[choice] @ np.array([100, 10, 1])
