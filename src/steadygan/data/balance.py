"""Class balance, and the sampling of labels for fakes."""

from __future__ import annotations

from typing import Literal

import numpy as np

MOST_IMBALANCE = 0.03
"""Classes count as balanced up to this imbalance; ImageNet's, with 732 to 1,300 images a class, is 0.013."""


def imbalance(counts: np.ndarray) -> float:
    """The fraction of images that would have to change class to make counts (C,) equal; 0 is balanced.

    Equals the total variation distance between the label distribution and the uniform one.
    """
    shares = counts / counts.sum()
    return float(np.abs(shares - 1 / len(shares)).sum() / 2)


def fakes_follow_data(asked: Literal["auto", "uniform", "data"], labels: np.ndarray | None, classes: int) -> bool:
    """Whether labels of fakes are sampled from the data's label distribution rather than uniformly.

    labels: (N,) of the whole data set, so that a random subset of a balanced set counts as balanced. If the label
    distributions of reals and fakes differ, D can lower its loss from the label alone: the hinge loss falls by twice
    the `imbalance`, and a weak D learns this first and ignores the image.
    """
    if asked != "auto" or labels is None:
        return asked == "data"
    return imbalance(np.bincount(labels, minlength=classes)) > MOST_IMBALANCE
