"""The two domains of a translation: layouts on disk and image sources."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from steadygan.data.containers.base import EXTENSIONS, Container
from steadygan.data.containers.registry import open_container
from steadygan.data.decoding import UnreadableImage, eight_bit, planes, reason
from steadygan.data.decoding import square as centre_square
from steadygan.data.image_files import image_names
from steadygan.data.source import Source, probe_channels, warn_of_dark
from steadygan.errors import UserError

Fit = Literal["crop", "squash"]
Half = Literal["left", "right"]
TEST_FOLDERS = ("test", "val")
SPLITS = ("train", *TEST_FOLDERS)
PROBED_SHAPES = 16
LAYOUTS = """
  trainA/ and trainB/        with testA/ and testB/ if there are test images
  train/A/ and train/B/      with test/A/ and test/B/
  A/train/ and B/train/      with A/test/ and B/test/
  A/ and B/                  without a split
  train/, or flat            images twice as wide as high: A is the left half, B the right"""


@dataclass(frozen=True, eq=False)
class Domain(Source):
    """One domain's images: whole files, or halves of files that show a pair side by side.

    Attributes:
        fit: how images become square: "crop" the centre, or "squash" the whole image.
    """

    half: Half | None = None
    fit: Fit = "crop"

    @property
    def variant(self) -> tuple[str, ...]:
        return self.half or "whole", self.fit, *super().variant

    def read(self, index: int, *, crop: bool = True) -> np.ndarray:
        """Image `index` as (channels, size, size) uint8. Raises UnreadableImage if it cannot be decoded."""
        assert self.files is not None
        name = self.names[index]
        try:
            image = self.files.image(name)
            if self.half is not None:
                image = _half(image, self.half)
            made = square(image, size=self.size, channels=self.channels, fit=self.fit, bits=self.bits)
        except Exception as error:  # On damaged bytes decoders raise many kinds of errors.
            raise UnreadableImage(name, reason(error)) from error
        self.refuse_colour(image, name)
        return made


def _half(image: Image.Image, half: Half) -> Image.Image:
    if image.width != 2 * image.height:
        raise ValueError(f"{image.width}×{image.height} is not two images side by side, twice as wide as high")
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height) if half == "left" else (middle, 0, image.width, image.height))


def square(image: Image.Image, *, size: int, channels: int, fit: Fit, bits: int | None = None) -> np.ndarray:
    """Makes an image square; Lanczos shrinks, bicubic enlarges.

    Args:
        image: of any size and Pillow mode.
        size: side of the square, in pixels.
        channels: 1 or 3.
        fit: crop the centre square, or squash the whole image.
        bits: see `decoding.eight_bit`.

    Returns:
        (channels, size, size) uint8.
    """
    if fit == "crop":
        return centre_square(image, size=size, channels=channels, bits=bits)
    shrinks = min(image.size) > size
    image = eight_bit(image, channels, bits)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)
    return planes(image)


@dataclass(frozen=True, eq=False)
class Whole(Source):
    """Images of any size, to be translated uncropped."""

    def read(self, index: int, *, crop: bool = False) -> np.ndarray:
        """Image `index` as (channels, H, W) uint8. Raises UnreadableImage if it cannot be decoded."""
        assert self.files is not None
        name = self.names[index]
        try:
            return planes(eight_bit(self.files.image(name), self.channels))
        except Exception as error:  # On damaged bytes decoders raise many kinds of errors.
            raise UnreadableImage(name, reason(error)) from error


def open_whole(path: Path, *, channels: int) -> Whole:
    """Opens the images of a folder or zip, in order, or a single image file, at their own sizes.

    Raises UserError if there are none.
    """
    one = path.is_file() and path.suffix.lower() in EXTENSIONS
    files = open_container(str(path.parent if one else path))
    names = [path.name] if one else image_names(files)
    if not names:
        known = " ".join(EXTENSIONS)
        raise UserError(f"there are no images in {path}: give a folder or zip with files ending in {known}")
    return Whole(path.name, 0, channels, names=tuple(names), files=files)


class Layout(NamedTuple):
    """The file names of A's and B's images, in order, and the half to use if files show both."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    side_by_side: bool


class DomainSources(NamedTuple):
    """The sources of one split.

    Attributes:
        aligned: A's image i and B's image i form a pair.
    """

    a: Domain
    b: Domain
    aligned: bool


def open_domains(
    path: str,
    *,
    size: int,
    channels: int | None = None,
    paired: bool = True,
    fit: Fit = "crop",
    load_size: int = 0,
    bits: int | None = None,
) -> dict[str, DomainSources]:
    """Opens the domains in a folder or zip, by split: "train", and "test" if there is one (else `val`).

    Layouts: `trainA trainB testA testB`, `train/A train/B test/A test/B`, `A/train A/test B/train B/test`, `A B`, or
    files twice as wide as high, with A on the left and B on the right, in `train test` or at the top. Files of A and B
    with the same name form a pair; suffixes may differ.

    Args:
        path: a folder or zip.
        size: side of the images, in pixels.
        channels: 1 or 3; None: 1 if the first images of both domains are greyscale, else 3.
        paired: whether each training image needs its partner in the other domain.
        fit: crop the centre square, or squash the whole image into a square.
        load_size: side of loaded training images in pixels, randomly cropped to `size`; 0: `size`.
        bits: see `decoding.eight_bit`.

    Returns:
        The sources of A and B, by split.

    Raises:
        UserError: there are no two domains, or `paired` is set and a training image has no partner.
    """
    files = open_container(path)
    layouts = _find(image_names(files))
    if "train" not in layouts:
        raise UserError(f"there are no two domains in {path}: expected one of the layouts{LAYOUTS}")
    _check_halves(files, layouts, path)
    found = {}
    for part, layout in layouts.items():
        aligned = _aligned(layout)
        if part == "train" and paired and not aligned:
            raise UserError(f"{_unpartnered(layout)} in {path}: add its partner, or set data.domains=unpaired")
        found[part] = layout, aligned
    for names in (layouts["train"].a, layouts["train"].b) if bits is None else ():
        warn_of_dark(files, names, path)
    guessed = channels is None
    if channels is None:
        first = layouts["train"]
        channels = max(probe_channels(files, first.a), probe_channels(files, first.b))

    def domain(part: str, names: Sequence[str], half: Half, layout: Layout) -> Domain:
        return Domain(
            name=path,
            size=(load_size or size) if part == "train" else size,
            channels=channels,
            names=tuple(names),
            files=files,
            guessed_grey=guessed and channels == 1,
            bits=bits,
            half=half if layout.side_by_side else None,
            fit=fit,
        )

    return {
        part: DomainSources(domain(part, layout.a, "left", layout), domain(part, layout.b, "right", layout), aligned)
        for part, (layout, aligned) in found.items()
    }


def find_domains(files: Container) -> dict[str, tuple[int, int, bool]]:
    """The numbers of images of A and B and whether they are paired, by split; empty without domains."""
    layouts = _find(image_names(files))
    if "train" not in layouts or _unhalved(files, layouts) is not None:
        return {}
    return {part: (len(layout.a), len(layout.b), _aligned(layout)) for part, layout in layouts.items()}


def _aligned(layout: Layout) -> bool:
    return layout.side_by_side or [_stem(name) for name in layout.a] == [_stem(name) for name in layout.b]


def _find(names: Sequence[str]) -> dict[str, Layout]:
    """Finds the layout of each split among image names."""
    if not names:
        return {}
    # Ignore one folder around everything, except `train/` or `trainA/`.
    top = posixpath.commonpath([posixpath.dirname(name) for name in names])
    if re.fullmatch("(train|test|val)?[ab]?", posixpath.basename(top).lower()):
        top = posixpath.dirname(top)
    folders = {name: posixpath.dirname(name)[len(top) :].strip("/").lower() for name in names}

    def inside(folder: str, *, deep: bool = True) -> tuple[str, ...]:
        found = [n for n, where in folders.items() if where == folder or (deep and where.startswith(f"{folder}/"))]
        return tuple(sorted(found, key=_stem))

    layouts: dict[str, Layout] = {}
    for part, parents in (("train", ("train",)), ("test", TEST_FOLDERS)):
        for parent in parents:
            for a, b in ((f"{parent}a", f"{parent}b"), (f"{parent}/a", f"{parent}/b"), (f"a/{parent}", f"b/{parent}")):
                if inside(a) and inside(b):
                    layouts.setdefault(part, Layout(inside(a), inside(b), False))
            if both := inside(parent, deep=False):
                layouts.setdefault(part, Layout(both, both, True))
    # With test images in one domain only, the other domain is not split yet: there is nothing to train on.
    split = any(inside(f"{domain}/{part}") for domain in "ab" for part in SPLITS)
    if not layouts and not split and inside("a") and inside("b"):
        layouts["train"] = Layout(inside("a"), inside("b"), False)
    if not layouts and set(folders.values()) == {""}:
        layouts["train"] = Layout(inside("", deep=False), inside("", deep=False), True)
    return layouts


def _check_halves(files: Container, layouts: dict[str, Layout], path: str) -> None:
    """Raises UserError if images are to be halved but most are not twice as wide as high."""
    if (wrong := _unhalved(files, layouts)) is not None:
        name, (width, height) = wrong
        if not width:
            raise UserError(f"{path} has no folders of two domains, and {name}, with others, cannot be read")
        raise UserError(
            f"{path} has no folders of two domains, and its images are not pairs side by side, which are twice as "
            f"wide as high ({name} is {width}×{height}); expected one of the layouts{LAYOUTS}"
        )


def _unhalved(files: Container, layouts: dict[str, Layout]) -> tuple[str, tuple[int, int]] | None:
    """An image and its size, as an example, if most of those to be halved are not twice as wide as high."""
    for layout in layouts.values():
        if not layout.side_by_side:
            continue
        sizes = {}
        for name in layout.a[:PROBED_SHAPES]:
            with contextlib.suppress(Exception):  # Loading counts and names damaged files.
                sizes[name] = files.image(name).size
        wrong = [name for name, (width, height) in sizes.items() if width != 2 * height]
        if not sizes:
            return layout.a[0], (0, 0)
        if 2 * len(wrong) > len(sizes):
            return wrong[0], sizes[wrong[0]]
    return None


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


def _unpartnered(layout: Layout) -> str:
    a, b = ({_stem(name): name for name in names} for names in (layout.a, layout.b))
    for ours, theirs, other in ((a, b, "B"), (b, a, "A")):
        for stem, name in ours.items():
            if stem not in theirs:
                return f"{name} has no image of its name in domain {other}"
    return "two images of one domain share a name"
