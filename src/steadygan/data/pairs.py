"""Two domains of images, A and B, that belong together one by one or not: what translation is trained on."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from steadygan.data.containers import EXTENSIONS, Container, open_container
from steadygan.data.content import split
from steadygan.data.decoding import MAX_UNREADABLE, UnreadableImage, eight_bit, planes, reason
from steadygan.data.decoding import square as centre_square
from steadygan.data.listing import hidden
from steadygan.data.loader import Batch, ImageSet, Loader, load_images
from steadygan.data.source import Source, probe_channels
from steadygan.errors import UserError

Fit = Literal["crop", "squash"]
Half = Literal["left", "right"]
TEST_FOLDERS = ("test", "val")
LAYOUTS = "trainA/ and trainB/, train/A/ and train/B/, A/ and B/, or images that show both (train/, or flat)"


@dataclass(frozen=True, eq=False)
class Domain(Source):
    """One domain's images: whole files, or one half of files that show a pair side by side.

    fit: what makes an image square: its centre is cut out ("crop"), or all of it is scaled ("squash").
    """

    half: Half | None = None
    fit: Fit = "crop"

    @property
    def variant(self) -> tuple[str, ...]:
        return self.half or "whole", self.fit

    def read(self, index: int, *, crop: bool = True) -> np.ndarray:
        """Image `index` as (channels, size, size) uint8. Raises UnreadableImage if it cannot be decoded."""
        assert self.files is not None
        name = self.names[index]
        try:
            image = self.files.image(name)
            if self.half is not None:
                image = _half(image, self.half)
            return square(image, size=self.size, channels=self.channels, fit=self.fit)
        except Exception as error:  # Decoders raise nearly anything on damaged bytes.
            raise UnreadableImage(name, reason(error)) from error


def _half(image: Image.Image, half: Half) -> Image.Image:
    if image.width % 2 or image.width < image.height:
        raise ValueError(f"{image.width}×{image.height} is not two images side by side")
    middle = image.width // 2
    return image.crop((0, 0, middle, image.height) if half == "left" else (middle, 0, image.width, image.height))


def square(image: Image.Image, *, size: int, channels: int, fit: Fit) -> np.ndarray:
    """An image as (channels, size, size) uint8; Lanczos shrinks, bicubic enlarges."""
    if fit == "crop":
        return centre_square(image, size=size, channels=channels)
    shrinks = min(image.size) > size
    image = eight_bit(image, channels)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)
    return planes(image)


@dataclass(frozen=True, eq=False)
class Whole(Source):
    """Images as they are, of any size, to be translated."""

    def read(self, index: int, *, crop: bool = False) -> np.ndarray:
        """Image `index` as (channels, H, W) uint8. Raises UnreadableImage if it cannot be decoded."""
        assert self.files is not None
        name = self.names[index]
        try:
            return planes(eight_bit(self.files.image(name), self.channels))
        except Exception as error:  # Decoders raise nearly anything on damaged bytes.
            raise UnreadableImage(name, reason(error)) from error


def open_whole(path: Path, *, channels: int) -> Whole:
    """The images of a folder or zip, in order, or one image by its path, each of its own size.

    Raises UserError when there are none.
    """
    one = path.is_file() and path.suffix.lower() in EXTENSIONS
    files = open_container(str(path.parent if one else path))
    names = [path.name] if one else _image_names(files)
    if not names:
        known = " ".join(EXTENSIONS)
        raise UserError(f"there are no images in {path}: give a folder or zip with files ending in {known}")
    return Whole(path.name, 0, channels, names=tuple(names), files=files)


class Layout(NamedTuple):
    """Where the images of A and B are: file names, in order, and which half of them, if they show both."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    side_by_side: bool


class DomainSources(NamedTuple):
    """The sources of one split. aligned: A's image i and B's image i belong together."""

    a: Domain
    b: Domain
    aligned: bool


def open_domains(
    path: str, *, size: int, channels: int | None = None, paired: bool = True, fit: Fit = "crop", load_size: int = 0
) -> dict[str, DomainSources]:
    """The domains in a folder or zip: "train", and "test" where there is one (else `val`).

    Layouts: `trainA trainB testA testB`, `train/A train/B test/A test/B`, `A B`, or files with A on the left and B on
    the right in `train test` or at the top. Files of A and B belong together when they have one name (the ending may
    differ). load_size: of training images, when they are to be larger than `size`. channels None: 1 if the first images
    of both domains are greyscale, else 3. Raises UserError when nothing of the kind is there, or when `paired` and a
    training image has no partner.
    """
    files = open_container(path)
    layouts = _find(_image_names(files))
    if "train" not in layouts:
        raise UserError(f"there are no two domains in {path}: expected {LAYOUTS}")
    found = {}
    for part, layout in layouts.items():
        aligned = layout.side_by_side or [_stem(name) for name in layout.a] == [_stem(name) for name in layout.b]
        if part == "train" and paired and not aligned:
            raise UserError(f"{_unpartnered(layout)} in {path}: add its partner, or set data.domains=unpaired")
        found[part] = layout, aligned
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
            half=half if layout.side_by_side else None,
            fit=fit,
        )

    return {
        part: DomainSources(domain(part, layout.a, "left", layout), domain(part, layout.b, "right", layout), aligned)
        for part, (layout, aligned) in found.items()
    }


def _image_names(files: Container) -> list[str]:
    return sorted(name for name in files.names() if not hidden(name) and name.lower().endswith(EXTENSIONS))


def _find(names: Sequence[str]) -> dict[str, Layout]:
    """The layout of each split among image names."""
    if not names:
        return {}
    # One folder around everything is packaging; a lone `train/` or `trainA/` is not.
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
            for a, b in ((f"{parent}a", f"{parent}b"), (f"{parent}/a", f"{parent}/b")):
                if inside(a) and inside(b):
                    layouts.setdefault(part, Layout(inside(a), inside(b), False))
            if both := inside(parent, deep=False):
                layouts.setdefault(part, Layout(both, both, True))
    if not layouts and inside("a") and inside("b"):
        layouts["train"] = Layout(inside("a"), inside("b"), False)
    if not layouts and set(folders.values()) == {""}:
        layouts["train"] = Layout(inside("", deep=False), inside("", deep=False), True)
    return layouts


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


def _unpartnered(layout: Layout) -> str:
    a, b = ({_stem(name): name for name in names} for names in (layout.a, layout.b))
    for ours, theirs, other in ((a, b, "B"), (b, a, "A")):
        for stem, name in ours.items():
            if stem not in theirs:
                return f"{name} has no image of its name in domain {other}"
    return "two images of one domain share a name"


class PairSet:
    """The images of both domains, by index: what `ImageSet` is for one.

    Made by `load_domains`. size: of the training images (those held may be larger, to be cut); aligned: A's image i and
    B's image i belong together; part: "train", "heldout" or "test"; skipped: files that could not be read, without
    which both domains are.
    """

    def __init__(
        self, a: ImageSet, b: ImageSet, *, size: int, aligned: bool, part: str = "train", skipped: Sequence[str] = ()
    ) -> None:
        self.a, self.b, self.size, self.aligned, self.part = a, b, size, aligned, part
        self.channels, self.place, self.device = a.channels, a.place, a.device
        self.skipped = [*skipped, *a.skipped, *b.skipped]
        self.fingerprint = hashlib.sha256(repr((a.fingerprint, b.fingerprint, aligned)).encode()).hexdigest()
        self.class_names: tuple[str, ...] = ()
        self.labels = None

    def __len__(self) -> int:
        """How many pairs, or images of the smaller domain."""
        return min(len(self.a), len(self.b))

    @property
    def noun(self) -> str:
        return "pairs" if self.aligned else f"and {max(len(self.a), len(self.b))} images"

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images of A and B at `indices` (N,): each (N, C, size, size) uint8, the middle of larger ones."""
        margin = (self.a.size - self.size) // 2
        window = slice(margin, margin + self.size)
        a, b = (domain.take(indices)[:, :, window, window] for domain in (self.a, self.b))
        return a, b

    def close(self) -> None:
        self.a.close()
        self.b.close()


def load_domains(
    sources: DomainSources,
    indices: Mapping[str, np.ndarray],
    *,
    size: int,
    paired: bool,
    part: str = "train",
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    total: Mapping[str, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PairSet:
    """The images of both domains at `indices` ("a" and "b"), without those that cannot be read.

    Of a pair with one unreadable image neither is there. Options are those of `load_images`; of each domain, no more
    may be unreadable than it allows.
    """
    load = partial(load_images, device=device, cache=cache, max_unreadable=max_unreadable, progress=progress)
    a, b = (
        load(source, indices[name], total=None if total is None else total[name])
        for name, source in zip("ab", sources[:2], strict=True)
    )
    skipped: list[str] = []
    if paired and not np.array_equal(a.indices, b.indices):
        skipped = [*a.skipped, *b.skipped]
        kept = np.intersect1d(a.indices, b.indices)
        a, b = (load(source, kept) for source in sources[:2])
    return PairSet(a, b, size=size, aligned=paired, part=part, skipped=skipped)


def choose(
    sources: DomainSources, paired: bool, *, heldout: float, fraction: float, seed: int, max_images: int | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Which images of each domain are trained on and which are held out: one choice of pairs, or one a domain."""
    parts = {
        name: split(len(domain), heldout, fraction, seed, max_images)
        for name, domain in zip("ab", sources[:2], strict=True)
    }
    if paired:
        parts["b"] = parts["a"]
    return {name: train for name, (train, _) in parts.items()}, {name: held for name, (_, held) in parts.items()}


class PairLoader:
    """`Loader` for two domains: the same order, flips and cuts for both images of a pair, independent ones otherwise.

    Where images are larger than the set's `size`, a square of that size is cut out at a uniform place, a function of
    the seed and the position alone.
    """

    def __init__(
        self,
        images: PairSet,
        *,
        batch_size: int,
        seed: int,
        flip: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.world_size = rank, world_size
        seeds = {"a": seed, "b": seed if images.aligned else seed + 1}
        self.loaders = {
            name: Loader(domain, batch_size=batch_size, seed=seeds[name], flip=flip, rank=rank, world_size=world_size)
            for name, domain in (("a", images.a), ("b", images.b))
        }

    @property
    def position(self) -> int:
        """The number of the next global batch's first sample."""
        return self.loaders["a"].position

    def batch(self) -> Batch:
        """This rank's next slice: for "a" and "b" images (B, C, size, size) float32 in [-1, 1] and no labels."""
        batch: Batch = {}
        for name, loader in self.loaders.items():
            places = self._places(loader.seed, loader.position, getattr(self.images, name).size)
            images, _ = loader.next()
            batch[name] = (self._cut(images, places), None)
        return batch

    def _places(self, seed: int, position: int, side: int) -> np.ndarray:
        """Top and left (B, 2) of what is cut out of this rank's next images."""
        share = self.batch_size // self.world_size
        numbers = np.random.default_rng((seed, position, 1))
        places = numbers.integers(side - self.images.size + 1, size=(self.batch_size, 2))
        return places[self.rank * share : (self.rank + 1) * share]

    def _cut(self, images: Tensor, places: np.ndarray) -> Tensor:
        size = self.images.size
        if images.shape[-1] == size:
            return images
        pairs = zip(images, places.tolist(), strict=True)
        return torch.stack([image[:, top : top + size, left : left + size] for image, (top, left) in pairs])

    def state_dict(self) -> dict[str, dict[str, int]]:
        return {name: loader.state_dict() for name, loader in self.loaders.items()}

    def load_state_dict(self, state: Mapping[str, dict[str, int]]) -> None:
        """Goes on exactly where `state` was taken. Raises UserError if this is another order of images."""
        for name, loader in self.loaders.items():
            loader.load_state_dict(state[name])

    def close(self) -> None:
        for loader in self.loaders.values():
            loader.close()
