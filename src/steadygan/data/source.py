"""From a path to images: the embedded digits or a container's files, decoded, cropped to a square and resized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from steadygan.data.containers.base import Container
from steadygan.data.containers.registry import is_name, open_container
from steadygan.data.decoding import UnreadableImage, reason, square, whole
from steadygan.data.digits import digits, stacked_digits
from steadygan.data.listing import list_images
from steadygan.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
PROBED_IMAGES = 64


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

    def read(self, index: int, *, crop: bool = True) -> np.ndarray:
        """Image `index` as (channels, size, size) uint8. Raises UnreadableImage if it cannot be decoded.

        With `crop` False the whole image, its shorter side of that size.
        """
        if self.images is not None:
            image: np.ndarray = self.images[index]
            return image
        assert self.files is not None
        name = self.names[index]
        try:
            fit = square if crop else whole
            return fit(self.files.image(name), size=self.size, channels=self.channels)
        except Exception as error:  # Decoders raise nearly anything on damaged bytes.
            raise UnreadableImage(name, reason(error)) from error

    def try_read(self, index: int, *, crop: bool = True) -> np.ndarray | UnreadableImage:
        """The same, but returns the error instead of raising it."""
        try:
            return self.read(index, crop=crop)
        except UnreadableImage as error:
            # A fresh one: the traceback would keep the file's bytes in memory.
            return UnreadableImage(error.name, error.reason)

    @property
    def variant(self) -> tuple[str, ...]:
        """What, beside size and channels, `read` makes of the same file otherwise than another source would."""
        return ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the stored bytes of all files, undecoded; computed once."""
        assert self.files is not None
        return self.files.digest(self.names)


def open_source(path: str, *, size: int, channels: int | None = None, root: str | None = None) -> Source:
    """The images of `path`: "digits", "stacked-digits", or what `open_container` takes, in a fixed order.

    Where labels come from is `list_images`' to say. `channels` None: 1 if the first 64 images are all greyscale, else
    3. `root` is where torchvision's data sets lie. Raises UserError if there is nothing to read there.
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

    files = open_container(path, root)
    listing = list_images(files, path)
    return Source(
        name=path if is_name(path) else Path(path).expanduser().resolve().name.removesuffix(".zip"),
        size=size,
        channels=probe_channels(files, listing.names) if channels is None else channels,
        class_names=listing.class_names,
        labels=listing.labels,
        names=listing.names,
        ignored=listing.ignored,
        files=files,
    )


def probe_channels(files: Container, names: Sequence[str]) -> int:
    """1 if the first 64 images are all greyscale, else 3; unreadable ones do not count."""
    for name in names[:PROBED_IMAGES]:
        try:
            mode = files.mode(name)
        except Exception:  # Damaged files are counted and named when the images are loaded.
            continue
        if mode not in GREY_MODES:
            return 3
    return 1
