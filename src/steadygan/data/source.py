"""From a path to images: the embedded digits or a container's files, decoded, cropped to a square and resized."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from steadygan.data.containers import Container, open_container
from steadygan.data.decoding import FORMATS, UnreadableImage, decode, reason
from steadygan.data.digits import digits, stacked_digits
from steadygan.data.listing import list_images
from steadygan.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
PROBED_IMAGES = 64
THREADS = min(16, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Source:
    """Images in a fixed order, each (channels, size, size) uint8; read from any number of threads at once.

    `labels` is (N,) int64, or None where nothing is known. `modes` (N,) int64 is what mode coverage is scored
    by and is never trained on (stacked-digits). `images` (N, C, H, W) uint8 holds the embedded data; files
    (`names`) are decoded at each read. `ignored` counts the files that are no images.
    """

    name: str
    size: int
    channels: int
    class_names: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    modes: np.ndarray | None = None
    images: np.ndarray | None = None
    names: tuple[str, ...] = ()
    ignored: int = 0
    files: Container | None = None

    def __len__(self) -> int:
        return len(self.names) if self.images is None else len(self.images)

    def read(self, index: int) -> np.ndarray:
        """Image `index` as (channels, size, size) uint8. Raises UnreadableImage if it cannot be decoded."""
        if self.images is not None:
            image: np.ndarray = self.images[index]
            return image
        assert self.files is not None
        name = self.names[index]
        try:
            return decode(self.files.read(name), size=self.size, channels=self.channels)
        except Exception as error:  # Decoders raise nearly anything on damaged bytes.
            raise UnreadableImage(name, reason(error)) from error


def open_source(path: str, *, size: int, channels: int | None = None) -> Source:
    """The images of `path`: "digits", "stacked-digits", a folder, or a zip.

    Labels come from a `dataset.json` (StyleGAN's: {"labels": [[name, int], …] or null, "classes": [names]}),
    or else from class folders, numbered in sorted order, if every image lies exactly one folder down and
    there are at least two folders; any other arrangement is read whole and unlabelled. `channels` None: 1 if
    the first 64 images are all greyscale, else 3. Raises UserError if there is nothing to read there.
    """
    if path == "digits":
        images, labels = digits(size)
        images = images.repeat(channels or 1, axis=1)
        return Source(path, size, channels or 1, tuple("0123456789"), labels, images=images)
    if path == "stacked-digits":
        if channels not in (None, 3):
            raise UserError("stacked-digits has 3 channels, one digit in each: set data.channels to 3")
        images, modes = stacked_digits(size)
        return Source(path, size, 3, modes=modes, images=images)

    files = open_container(path)
    listing = list_images(files, path)
    return Source(
        name=Path(path).expanduser().resolve().name.removesuffix(".zip"),
        size=size,
        channels=probe_channels(files, listing.names) if channels is None else channels,
        class_names=listing.class_names,
        labels=listing.labels,
        names=listing.names,
        ignored=listing.ignored,
        files=files,
    )


def probe_channels(files: Container, names: Sequence[str]) -> int:
    for name in names[:PROBED_IMAGES]:
        try:
            mode = Image.open(io.BytesIO(files.read(name)), formats=FORMATS).mode
        except Exception:  # Damaged files are counted and named when the images are loaded.
            continue
        if mode not in GREY_MODES:
            return 3
    return 1
