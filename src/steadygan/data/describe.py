"""The report of `steadygan data info`, with only a few images in memory."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from steadygan.data.containers.base import Container, Listing
from steadygan.data.containers.registry import open_container
from steadygan.data.content import fingerprint
from steadygan.data.decoding import UnreadableImage, eight_bit, planes, reason
from steadygan.data.digits import EMBEDDED
from steadygan.data.listing import list_images
from steadygan.data.ordered import THREADS, in_order
from steadygan.data.proposal import propose
from steadygan.data.source import in_colour, open_source, probe_channels, warn_of_dark
from steadygan.files import write_whole
from steadygan.pictures.grid import grid, to_pil
from steadygan.pictures.lettering import legible

NAMED_GROUPS = 20
SHEET_SIDE, SHEET_ROWS, SHEET_COLUMNS, SHEET_MARGIN = 96, 10, 10, 140


class _InColour(Exception):
    """An image in colour, where all that were probed are grey."""


class _Look(NamedTuple):
    mode: str
    size: tuple[int, int]
    pixels: np.ndarray
    histogram: np.ndarray
    digest: bytes
    moving: bool
    transparent: bool


@dataclass
class _Tally:
    """Running statistics of the images."""

    channels: int
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    digests: list[bytes] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    moving: int = 0
    transparent: int = 0

    def __post_init__(self) -> None:
        self.histogram = np.zeros((self.channels, 256), np.int64)

    def add(self, index: int, look: _Look) -> None:
        self.modes[look.mode] += 1
        self.sizes[look.size] += 1
        self.digests.append(look.digest)
        self.kept.append(index)
        self.histogram += look.histogram
        self.moving += look.moving
        self.transparent += look.transparent

    def moments(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each channel over all pixels, in [0, 1]."""
        if not self.kept:
            return {"mean": [], "std": []}
        shares, values = self.histogram / self.histogram.sum(1, keepdims=True), np.arange(256) / 255
        mean = shares @ values
        spread = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
        return {"mean": mean.round(5).tolist(), "std": spread.round(5).tolist()}

    def duplicates(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The number of images that repeat an earlier one, and the first NAMED_GROUPS groups of equal images."""
        groups: dict[bytes, list[int]] = {}
        for index, digest in zip(self.kept, self.digests, strict=True):
            groups.setdefault(digest, []).append(index)
        repeated = [group for group in groups.values() if len(group) > 1]
        return {
            "images": sum(map(len, repeated)) - len(repeated),
            "groups": [[names[index] for index in group] for group in repeated[:NAMED_GROUPS]],
        }


def describe(
    path: str,
    *,
    root: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = THREADS,
    most: int | None = None,
    bits: int | None = None,
) -> dict[str, Any]:
    """The report of `steadygan data info PATH`; decodes every image.

    Args:
        path: any `data.path`.
        root: folder of torchvision data sets.
        progress: called with (done, all) meanwhile.
        threads: decoding threads.
        most: maximum number of images to decode, evenly spaced. Count and classes still cover all images, the rest
            covers these, and the fingerprint is null.
        bits: see `decoding.eight_bit`.

    Returns:
        JSON-ready: path, layout, count (images, the unreadable included), ignored (other files), labelled, classes
        {name: count}, balance {smallest, largest, entropy} (entropy over that of even classes, 1 = even),
        width_height {smallest, largest, most_common} as (width, height), median_side (of the shorter sides),
        pixel_modes {Pillow mode: count}, channels (as `source.probe_channels` finds, but 3 if any decoded image is in
        colour), mean and std (of each channel over all pixels, in 0…1), duplicates {images, groups} of equal pixels,
        fingerprint (of the readable images at their own sizes, see `content.fingerprint`: training's at that size where
        all are squares of one size), unreadable {name: reason}, moving (files of several images, of which the first
        counts), transparent (images with pixels that let the background show), proposal (see `proposal.propose`).

    Raises:
        UserError: there are no images at the path.
    """
    if path in EMBEDDED:
        source = open_source(path, size=8)
        assert source.images is not None
        channels, images = source.channels, source.images
        names = tuple(f"{index:05}" for index in range(len(source)))
        proposal = dict[str, Any]()
        listing = Listing("embedded", names, 0, source.labels, source.class_names)
        chosen = _spread(np.arange(len(names)), most or len(names)).tolist()

        def look(channels: int) -> Iterator[_Look | UnreadableImage]:
            return (_look(to_pil(torch.from_numpy(images[index])), channels) for index in chosen)

    else:
        files = open_container(path, root)
        listing = list_images(files, path)
        proposal = propose(files, path) if files.listing() is None else {}
        if bits is None:
            warn_of_dark(files, listing.names, path)
        channels = probe_channels(files, listing.names)
        chosen = _spread(np.arange(len(listing.names)), most or len(listing.names)).tolist()

        def look(channels: int) -> Iterator[_Look | UnreadableImage]:
            names = [listing.names[index] for index in chosen]
            return in_order(partial(_open, files, channels, bits), names, threads)

    try:
        tally, content = _tallied(look(channels), channels, chosen, listing, progress)
    except _InColour:  # All are read again, as grey and RGB differ in every statistic.
        channels = 3
        tally, content = _tallied(look(channels), channels, chosen, listing, progress)
    sizes = tally.sizes
    # By area, then by width, so that different sizes never compare equal.
    by_area = sorted(sizes, key=lambda size: (math.prod(size), size))
    extent = (by_area[0], by_area[-1], sizes.most_common(1)[0][0]) if sizes else ()
    sides = sorted(min(size) for size in sizes.elements())
    counts = Counter([] if listing.labels is None else listing.labels.tolist())
    classes = {name: counts[label] for label, name in enumerate(listing.class_names)}
    return {
        "path": path,
        "layout": listing.layout,
        "count": len(listing.names),
        "ignored": listing.ignored,
        "labelled": listing.labels is not None,
        "classes": classes,
        "balance": _balance(list(classes.values())),
        "width_height": dict(zip(("smallest", "largest", "most_common"), extent, strict=False)),
        "median_side": sides[(len(sides) - 1) // 2] if sides else 0,
        "pixel_modes": dict(tally.modes.most_common()),
        "channels": channels,
        **tally.moments(),
        "duplicates": tally.duplicates(listing.names),
        "fingerprint": content if len(chosen) == len(listing.names) else None,
        "unreadable": tally.unreadable,
        "moving": tally.moving,
        "transparent": tally.transparent,
        "proposal": proposal,
    }


def _tallied(
    looks: Iterator[_Look | UnreadableImage],
    channels: int,
    chosen: Sequence[int],
    listing: Listing,
    progress: Callable[[int, int], None] | None,
) -> tuple[_Tally, str]:
    """The statistics and the fingerprint of the images with the indices `chosen`."""
    tally = _Tally(channels)

    def pixels() -> Iterator[np.ndarray]:
        for done, (index, look) in enumerate(zip(chosen, looks, strict=True)):
            if isinstance(look, UnreadableImage):
                tally.unreadable[look.name] = look.reason
            else:
                tally.add(index, look)
                yield look.pixels
            if progress is not None:
                progress(done + 1, len(chosen))

    labels = None if listing.labels is None else (listing.labels[index] for index in tally.kept)
    return tally, fingerprint(pixels(), labels)


def _open(files: Container, channels: int, bits: int | None, name: str) -> _Look | UnreadableImage:
    try:
        image = files.image(name)
        look = _look(image, channels, bits)
    except Exception as error:  # Decoders can raise any exception on damaged bytes.
        return UnreadableImage(name, reason(error))
    if channels == 1 and in_colour(image):
        raise _InColour
    return look


def _look(image: Image.Image, channels: int, bits: int | None = None) -> _Look:
    plain = eight_bit(image, channels, bits)
    digest = hashlib.sha256(repr(plain.size).encode() + plain.tobytes()).digest()
    histogram = np.array(plain.histogram(), np.int64).reshape(channels, 256)
    return _Look(image.mode, image.size, planes(plain), histogram, digest, _moves(image), _shows_through(image))


def _moves(image: Image.Image) -> bool:
    """Whether a file contains several images."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # Damage after the first image does not affect it.
        return False


def _shows_through(image: Image.Image) -> bool:
    """Whether a pixel is not opaque."""
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _balance(counts: list[int]) -> dict[str, float]:
    if not counts:
        return {}
    shares = np.array([count for count in counts if count]) / sum(counts)
    entropy = -(shares * np.log(shares)).sum() / math.log(len(counts)) if len(counts) > 1 else 1.0
    return {"smallest": min(counts), "largest": max(counts), "entropy": round(float(entropy), 4)}


def contact_sheet(path: str, out: Path, *, root: str | None = None, bits: int | None = None) -> Path:
    """Writes a PNG of up to 100 images: one row for each of the first ten classes, or evenly spaced over the set.

    Images are cropped as in training, at 96 pixels; unreadable ones are skipped.

    Args:
        path: any `data.path`.
        out: the PNG to write.
        root: folder of torchvision data sets.
        bits: see `decoding.eight_bit`.

    Returns:
        `out`.

    Raises:
        UserError: there are no images at the path.
    """
    source = open_source(path, size=SHEET_SIDE, channels=3, root=root, bits=bits)
    if source.labels is None:
        rows = list(np.array_split(_spread(np.arange(len(source)), SHEET_ROWS * SHEET_COLUMNS), SHEET_ROWS))
    else:
        rows = [
            _spread(np.flatnonzero(source.labels == label), SHEET_COLUMNS)
            for label in range(min(SHEET_ROWS, len(source.class_names)))
        ]
    blank = np.full((source.channels, SHEET_SIDE, SHEET_SIDE), 255, np.uint8)
    shown = []
    for row in rows:
        readable = [entry for entry in map(source.try_read, row.tolist()) if isinstance(entry, np.ndarray)]
        shown += readable + [blank] * (SHEET_COLUMNS - len(readable))
    sheet = grid(torch.from_numpy(np.stack(shown)), SHEET_COLUMNS).convert("RGB")
    if source.labels is not None:
        sheet = _with_names(sheet, source.class_names[: len(rows)])
    write_whole(out, lambda temporary: sheet.save(temporary, format="PNG"))
    return out


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the indices, evenly spaced."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(np.int64)
    return indices[places]


def _with_names(sheet: Image.Image, names: tuple[str, ...]) -> Image.Image:
    """Adds a name to the left of each row."""
    wide = Image.new("RGB", (sheet.width + SHEET_MARGIN, sheet.height), "white")
    wide.paste(sheet, (SHEET_MARGIN, 0))
    pen, (shown, font) = ImageDraw.Draw(wide), legible([name[:16] for name in names], 16)
    for row, name in enumerate(shown):
        middle = (row + 0.5) * sheet.height / len(shown)
        pen.text((SHEET_MARGIN - 8, middle), name, "black", font, anchor="rm")
    return wide
