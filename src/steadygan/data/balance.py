"""How balanced classes are, and what follows for the labels of fakes."""

from __future__ import annotations

from typing import Literal

import numpy as np

MOST_IMBALANCE = 0.03
"""Up to here classes count as balanced: ImageNet's 732 to 1,300 images a class are at 0.013."""


def imbalance(counts: np.ndarray) -> float:
    """The share of images that would have to change class for all classes (C,) to have as many: 0 is balanced.

    It is the total variation distance between the labels and uniform ones.
    """
    shares = counts / counts.sum()
    return float(np.abs(shares - 1 / len(shares)).sum() / 2)


def fakes_follow_data(asked: Literal["auto", "uniform", "data"], labels: np.ndarray | None, classes: int) -> bool:
    """Whether labels of fakes are drawn as often as the data has them, rather than each as often as the others.

    labels: those of the whole data set (N,), whatever part of it is trained on, so that a random part of a balanced set
    stays balanced. Where reals and fakes have their labels in different shares, D earns from the label alone: the hinge
    loss falls by twice the `imbalance`, and a D that sees little else takes that first and never looks at the image.
    """
    if asked != "auto" or labels is None:
        return asked == "data"
    return imbalance(np.bincount(labels, minlength=classes)) > MOST_IMBALANCE
