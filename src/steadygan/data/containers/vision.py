"""torchvision data sets by name."""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from steadygan.data.classes import number_classes
from steadygan.data.containers.base import Container, Listing
from steadygan.errors import UserError, nearest, require

PREFIX = "torchvision:"


class Vision(Container):
    """A torchvision data set; an image's name is its index, labels are torchvision's.

    Raises:
        UserError: its samples are not images.
    """

    def __init__(self, data: Any, name: str) -> None:
        self._data, self.name = data, name
        if not isinstance(data[0][0], Image.Image):
            raise UserError(f"{name} holds {type(data[0][0]).__name__}s instead of images; choose a data set of images")

    def names(self) -> Iterator[str]:
        return (f"{index:08}" for index in range(len(self._data)))

    def listing(self) -> Listing:
        names = tuple(self.names())
        found = (getattr(self._data, key, None) for key in ("targets", "labels", "_labels"))
        values = next((np.asarray(entry) for entry in found if entry is not None and len(entry) == len(names)), None)
        if values is None or values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < 0:
            return Listing("torchvision", names)
        classes = getattr(self._data, "classes", None)
        labels, class_names = number_classes(values.tolist(), f"the labels of {self.name}", classes)
        return Listing("torchvision", names, labels=labels, class_names=class_names)

    def read(self, name: str) -> bytes:
        return self.image(name).tobytes()

    def image(self, name: str) -> Image.Image:
        image: Image.Image = self._data[int(name)][0]
        return image

    def mode(self, name: str) -> str:
        return self.image(name).mode


def open_vision(path: str, root: Path) -> Vision:
    """`torchvision:NAME` or `torchvision:NAME/SPLIT` (default `train`), downloaded to and read from `root`.

    Raises UserError for an unknown name or split, and for a failed download.
    """
    require("torchvision", "vision", f"{path}")
    from torchvision import datasets

    match = re.fullmatch(r"(\w+)(?:/([\w-]+))?", path.removeprefix(PREFIX))
    name, split = (match[1], match[2] or "train") if match else (path.removeprefix(PREFIX), "train")
    known = [entry for entry in datasets.__all__ if entry not in ("DatasetFolder", "ImageFolder", "VisionDataset")]
    if name not in known:
        raise UserError(f"torchvision has no data set {name!r}; {nearest(name, known)}")
    kind = getattr(datasets, name)
    parameters = inspect.signature(kind).parameters
    options: dict[str, Any] = {"root": str(root), "download": True, "split": split, "train": split == "train"}
    if "split" not in parameters and split not in ("train", "test"):
        raise UserError(f"{path}: {name} has no split {split!r}; give train or test")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(sys.stderr):  # keep its download messages out of a command's output
            data = kind(**{key: value for key, value in options.items() if key in parameters})
        return Vision(data, path)
    except (RuntimeError, ValueError, TypeError, LookupError, OSError, ImportError) as error:
        raise UserError(f"{path} cannot be opened below {root}: {str(error).splitlines()[0]}") from None
