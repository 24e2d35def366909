"""The properties of the user's images that the choice of settings depends on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steadygan.data.balance import MOST_IMBALANCE, imbalance
from steadygan.data.decoding import MAX_UNREADABLE
from steadygan.data.describe import describe
from steadygan.data.source import open_source

LOOKED_AT = 2000
"""Maximum number of images to decode, evenly spaced; all files are counted."""
FEWEST = 8
"""Minimum number of different images to train on."""
MIRROR_SIDE, MIRROR_IMAGES = 16, 1000


@dataclass(frozen=True)
class Look:
    """Properties of images.

    Attributes:
        side: median of the shorter side, in pixels.
        classes: number of images by class name, empty without labels.
        alpha: fraction with transparent pixels.
        mirror: accuracy of a linear classifier between held-out images and their mirror images; 0.5 is chance; None:
            too few different images to measure it.
        looked_at: number of decoded images.
        duplicates: number of those equal to an earlier one.
        unreadable: reasons by file, among those.
        moving: number of files with several images, such as animations.
    """

    path: str
    layout: str
    count: int
    looked_at: int
    side: int
    largest: tuple[int, int]
    channels: int
    classes: dict[str, int]
    alpha: float
    mirror: float | None
    duplicates: int
    unreadable: dict[str, str]
    ignored: int = 0
    moving: int = 0

    @property
    def readable(self) -> int:
        """About how many images can be read, by their share of those looked at."""
        return round(self.count * self.looked_at / max(1, self.looked_at + len(self.unreadable)))

    @property
    def distinct(self) -> int:
        """About how many different images there are, by their share of those looked at."""
        return round(self.count * (self.looked_at - self.duplicates) / max(1, self.looked_at + len(self.unreadable)))

    @property
    def balanced(self) -> bool:
        """Whether classes have similar numbers of images."""
        return not self.classes or imbalance(np.array([*self.classes.values()])) <= MOST_IMBALANCE


def look_at(
    path: str,
    *,
    root: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    bits: int | None = None,
) -> Look:
    """Examines the images at any `data.path`.

    Args:
        path: the images.
        root: folder of torchvision data sets.
        progress: called with (done, total).
        bits: see `data.decoding.eight_bit`.

    Raises:
        UserError: there are none, or none can be read.
    """
    found = describe(path, root=root, progress=progress, most=LOOKED_AT, bits=bits)
    return summary(found, mirror=mirror(path, root=root, bits=bits, channels=found["channels"]))


def summary(found: dict[str, Any], *, mirror: float | None) -> Look:
    """Extracts the properties from a report of `data.describe.describe`."""
    count, looked_at = found["count"], sum(found["pixel_modes"].values())
    return Look(
        path=found["path"],
        layout=found["layout"],
        count=count,
        looked_at=looked_at,
        side=found["median_side"],
        largest=tuple(found["width_height"].get("largest", (0, 0))),
        channels=found["channels"],
        classes=found["classes"] if found["labelled"] else {},
        alpha=found["transparent"] / max(1, looked_at),
        mirror=mirror,
        duplicates=found["duplicates"]["images"],
        unreadable=found["unreadable"],
        ignored=found["ignored"],
        moving=found["moving"],
    )


def too_few(look: Look) -> str | None:
    """The reason why a training on these images is refused; None if there are enough different ones."""
    if look.distinct >= FEWEST:
        return None
    if not look.looked_at:
        return f"{look.path}: none of {look.count:,} images can be read; repair them, or convert them to PNG"
    about = "about " if look.looked_at + len(look.unreadable) < look.count else ""
    bad = round(look.count * len(look.unreadable) / (look.looked_at + len(look.unreadable)))
    again = look.count - bad - look.distinct
    less = [f"{about}{bad:,} cannot be read"] if bad else []
    less += [f"{about}{again:,} {'repeats' if again == 1 else 'repeat'} another"] if again else []
    of_which = f", of which {' and '.join(less)}" if less else ""
    return (
        f"{look.path} has {look.count:,} image{'s' * (look.count != 1)}{of_which}: too few to learn from; use {FEWEST} "
        "different ones at least, thousands if you can"
    )


def leaving_out(look: Look, limit: float = MAX_UNREADABLE) -> str | None:
    """The override with which training leaves the unreadable images out; None if it does so without.

    limit: `data.max_unreadable` without it.
    """
    share = len(look.unreadable) / max(1, look.looked_at + len(look.unreadable))
    return f"data.max_unreadable={min(1.0, math.ceil(100 * share + 1) / 100):g}" if share >= limit else None


def mirror(path: str, *, channels: int, root: str | None = None, bits: int | None = None) -> float | None:
    """`mirror_accuracy` of up to MIRROR_IMAGES evenly spaced images of a data set; None for fewer than FEWEST.

    Unreadable images are left out, and duplicates: the classifier would have seen the images that it is tested on.

    Args:
        path: the images, as in `data.path`.
        channels: 1 or 3; 3 where any image is in colour.
        root: folder of torchvision data sets.
        bits: see `data.decoding.eight_bit`.
    """
    source = open_source(path, size=MIRROR_SIDE, channels=channels, root=root, bits=bits)
    chosen = np.linspace(0, len(source) - 1, min(len(source), MIRROR_IMAGES)).round().astype(int)
    read = (source.try_read(index) for index in chosen.tolist())
    images = [image for image in read if isinstance(image, np.ndarray)]
    images = [*{image.tobytes(): image for image in images}.values()]
    return mirror_accuracy(np.stack(images)) if len(images) >= FEWEST else None


def mirror_accuracy(images: np.ndarray) -> float:
    """Accuracy of a linear classifier between unseen images and their mirror images: 0.5 if images are symmetric.

    A ridge regression of +1 on x − mirror(x), which changes sign when an image is mirrored, with two-fold
    cross-validation. The prediction for a mirror image is the negative one, so a second class is not needed.

    Args:
        images: uint8 (N, C, H, W), N at least 2.
    """
    x = images.astype(np.float64) / 255
    odd = (x - x[..., ::-1])[..., : x.shape[-1] // 2].reshape(len(x), -1)
    right = 0.0
    for half in (0, 1):
        train, test = odd[half::2], odd[1 - half :: 2]
        # Ridge regression in dual form: one unknown per image.
        gram = train @ train.T
        ridge = 1e-3 * max(float(np.trace(gram)), 1e-12)
        answers = test @ (train.T @ np.linalg.solve(gram + ridge * np.eye(len(train)), np.ones(len(train))))
        right += float((answers > 0).sum() + 0.5 * (answers == 0).sum())
    return right / len(odd)
