"""Image sources: the embedded digits or a container's files, decoded, cropped to a square and resized."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from steadygan.data.containers.base import Container
from steadygan.data.containers.registry import is_name, open_container
from steadygan.data.decoding import UnreadableImage, eight_bit, reason, square, whole
from steadygan.data.digits import digits, stacked_digits
from steadygan.data.listing import list_images
from steadygan.errors import UserError

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
PROBED_IMAGES, FULL_RANGE = 64, 0xFFFF
FEWEST_DARK = 8
"""Minimum number of 8-bit images for a warning: fewer may really be dark."""
GREY_TOLERANCE = 16
"""Maximum difference between the channels of a grey pixel, as JPEG rounds."""


@dataclass(frozen=True, eq=False)
class Source:
    """Images in a fixed order, each (channels, size, size) uint8; thread-safe.

    `labels` is (N,) int64, or None if unknown. `modes` (N,) int64, of stacked-digits, is for mode coverage only, never
    for training. `images` (N, C, H, W) uint8 holds embedded data; files (`names`) are decoded at each read.
    `guessed_grey`: one channel was chosen because the probed images are grey. `ignored` counts files that are not
    images. `bits`: see `decoding.eight_bit`.
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
    guessed_grey: bool = False
    bits: int | None = None

    def __len__(self) -> int:
        return len(self.names) if self.images is None else len(self.images)

    def read(self, index: int, *, crop: bool = True) -> np.ndarray:
        """Image `index` as (channels, size, size) uint8. Raises UnreadableImage if it cannot be decoded.

        With `crop` False, the whole image, its shorter side resized to `size`.
        """
        if self.images is not None:
            image: np.ndarray = self.images[index]
            return image
        assert self.files is not None
        name = self.names[index]
        try:
            fit, decoded = square if crop else whole, self.files.image(name)
            image = fit(decoded, size=self.size, channels=self.channels, bits=self.bits)
        except Exception as error:  # On damaged bytes decoders raise many kinds of errors.
            raise UnreadableImage(name, reason(error)) from error
        self.refuse_colour(decoded, name)
        return image

    def refuse_colour(self, image: Image.Image, name: str) -> None:
        """Raises UserError for a colour image if grey was chosen because the probed images are grey."""
        if self.guessed_grey and in_colour(image):
            raise UserError(
                f"{self.name}: {name} is in colour, but the first images and others looked at are saved in grey, so "
                "its colour would be dropped: set data.channels=3, or data.channels=1 to make all images grey "
                "(data pack: --channels)"
            )

    def try_read(self, index: int, *, crop: bool = True) -> np.ndarray | UnreadableImage:
        """Like `read`, but returns the error instead of raising it."""
        try:
            return self.read(index, crop=crop)
        except UnreadableImage as error:
            # A new exception: the old one's traceback would keep the file's bytes in memory.
            return UnreadableImage(error.name, error.reason)

    @property
    def variant(self) -> tuple[str, ...]:
        """Decoding settings other than size and channels, for the cache key."""
        return () if self.bits is None else (f"{self.bits} bits",)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the undecoded bytes of all files; computed once."""
        assert self.files is not None
        return self.files.digest(self.names)


def open_source(
    path: str, *, size: int, channels: int | None = None, root: str | None = None, bits: int | None = None
) -> Source:
    """Opens the images of a path, in a fixed order. See `list_images` for the source of labels.

    Args:
        path: "digits", "stacked-digits", or what `open_container` takes.
        size: side of the images, in pixels.
        channels: 1 or 3; None: as `probe_channels` finds.
        root: folder of torchvision data sets.
        bits: see `decoding.eight_bit`.

    Raises:
        UserError: there are no images at the path.
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
    if bits is None:
        warn_of_dark(files, listing.names, path)
    probed = probe_channels(files, listing.names) if channels is None else channels
    return Source(
        name=path if is_name(path) else Path(path).expanduser().resolve().name.removesuffix(".zip"),
        size=size,
        channels=probed,
        class_names=listing.class_names,
        labels=listing.labels,
        names=listing.names,
        ignored=listing.ignored,
        files=files,
        guessed_grey=channels is None and probed == 1,
        bits=bits,
    )


def probe_channels(files: Container, names: Sequence[str]) -> int:
    """Whether images are grey (1) or in colour (3): the one rule, for training and for `data info`.

    1 if the first 64 images and 64 spread over the rest are saved in grey; unreadable ones are ignored. Modes decide,
    for which headers are enough. Colour images elsewhere (`in_colour`) are then refused by `Source.read`, and make
    `describe.describe` report RGB.

    Args:
        files: the container.
        names: names of the images, in order.

    Returns:
        1 or 3.
    """
    for name in probed(names):
        try:
            mode = files.mode(name)
        except Exception:  # Damaged files are counted and named when the images are loaded.
            continue
        if mode not in GREY_MODES:
            return 3
    return 1


def probed(names: Sequence[str]) -> list[str]:
    """The first 64 names, and 64 spread evenly over the rest."""
    first, rest = names[:PROBED_IMAGES], names[PROBED_IMAGES:]
    places = np.linspace(0, len(rest) - 1, min(PROBED_IMAGES, len(rest))).round().astype(int)
    return [*first, *(rest[place] for place in places)]


def in_colour(image: Image.Image) -> bool:
    """Whether an image has coloured pixels, whatever its mode."""
    if image.mode in GREY_MODES:
        return False
    pixels = np.asarray(image.convert("RGB"), np.int16)
    return bool(np.ptp(pixels, axis=2).max() > GREY_TOLERANCE)


def warn_of_dark(files: Container, names: Sequence[str], path: str) -> None:
    """Warns of images that use at most a quarter of 16 bits, or an eighth of 8 bits."""
    brightest: dict[int, list[int]] = {}
    for name in probed(names):
        try:
            image = files.image(name)
            if image.mode in ("I", "F"):  # unknown range
                continue
            full = FULL_RANGE if image.mode.startswith("I;16") else 0xFF
            level = int(np.asarray(image if full == FULL_RANGE else eight_bit(image, 3)).max())
        except Exception:  # Damaged files are counted and named when the images are loaded.
            continue
        if level > full // (4 if full == FULL_RANGE else 8):
            return
        brightest.setdefault(full, []).append(level)
    for full, levels in brightest.items():
        if full != FULL_RANGE and len(levels) < FEWEST_DARK:
            continue
        level, depth = max(levels), 16 if full == FULL_RANGE else 8
        what = f"the brightest pixel of {len(levels)} images of {depth} bits is {level} of {full}, so that they are"
        bits = level.bit_length()
        hint = "if they are masks of class numbers, or colours of 10 or 12 bits in 16, save them scaled to 0…255"
        if depth == 16:
            hint = f"if they have {bits} bits, set data.bits={bits} (data info and data pack: --bits {bits})"
        warnings.warn(f"{path}: {what} {f'nearly black: {hint}' if level else 'all black'}", stacklevel=2)
