"""From a path to images: the embedded digits, a folder or a zip, decoded, cropped to a square and resized."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import posixpath
import struct
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from steadygan.data.digits import digits, stacked_digits
from steadygan.errors import UserError

EMBEDDED = ("digits", "stacked-digits")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
MANIFEST = "dataset.json"
PROBED_IMAGES = 64
MAX_MEMBER_BYTES = 1 << 30
THREADS = min(16, os.cpu_count() or 1)


class UnreadableImage(UserError):
    """One image that cannot be decoded; `name` is its path inside the source, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"cannot read the image {name}: {reason}")
        self.name, self.reason = name, reason


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root, onerror=self._refuse, followlinks=True):
            real = Path(folder).resolve()
            # A link to one of its own ancestors would be walked for ever.
            folders[:] = [name for name in folders if not real.is_relative_to(Path(folder, name).resolve())]
            yield from (Path(folder, name).relative_to(self.root).as_posix() for name in files)

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise UserError(f"cannot list the folder {error.filename}: {error.strerror}")

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class _Zip:
    """Members are read as bytes, never extracted; each thread has its own handle and file position."""

    def __init__(self, path: Path) -> None:
        self.path, self._local = path, threading.local()
        self._handle()

    def _handle(self) -> zipfile.ZipFile:
        if not hasattr(self._local, "handle"):
            self._local.handle = zipfile.ZipFile(self.path)
        handle: zipfile.ZipFile = self._local.handle
        return handle

    def names(self) -> Iterator[str]:
        return (member.filename for member in self._handle().infolist() if not member.is_dir())

    def read(self, name: str) -> bytes:
        if self._handle().getinfo(name).file_size > MAX_MEMBER_BYTES:
            raise ValueError(f"over {MAX_MEMBER_BYTES >> 20} MiB when unpacked")
        return self._handle().read(name)


def _open_files(path: str) -> _Folder | _Zip:
    place = Path(path).expanduser()
    if place.is_dir():
        return _Folder(place)
    if not place.exists():
        raise UserError(f"{path} does not exist: give a folder or zip of images, or {' or '.join(EMBEDDED)}")
    try:
        return _Zip(place)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path} is neither a folder nor a sound zip ({error}): give one of them") from None


@dataclass(frozen=True)
class _Listing:
    layout: str
    names: tuple[str, ...]
    ignored: int
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def _hidden(name: str) -> bool:
    # Finder's zips hold an undecodable "__MACOSX/._x.jpg" for every x.jpg.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _list(files: _Folder | _Zip, path: str) -> _Listing:
    everything = set(files.names())
    visible = [name for name in everything if not _hidden(name)]
    manifests = sorted((n for n in visible if posixpath.basename(n) == MANIFEST), key=lambda n: n.count("/"))
    if len(manifests) > 1 and manifests[0].count("/") == manifests[1].count("/"):
        raise UserError(f"{path} holds several data sets, {' and '.join(sorted(manifests)[:2])}: give one")
    manifest = manifests[0] if manifests else None
    base = "" if manifest is None else manifest.removesuffix(MANIFEST)
    names = tuple(sorted(n for n in visible if n.lower().endswith(EXTENSIONS) and n.startswith(base)))
    ignored = len(everything) - len(names) - (manifest is not None)
    if not names:
        raise UserError(
            f"there are no images in {path} ({len(everything)} other files): "
            f"give a folder or a zip with files ending in {' '.join(EXTENSIONS)}"
        )
    if manifest is not None:
        labels, class_names = _manifest_labels(files, manifest, names, f"{manifest} in {path}")
        return _Listing(MANIFEST, names, ignored, labels, class_names)

    folders = [posixpath.dirname(name.lstrip("/")) for name in names]
    # One folder around everything is packaging, not a class.
    common = posixpath.commonpath(set(folders))
    inner = {folder: folder[len(common) :].lstrip("/") for folder in set(folders)}
    classes = tuple(sorted(inner.values()))
    if classes == ("",):
        return _Listing("flat", names, ignored)
    if any(not name or "/" in name for name in classes):
        return _Listing("nested folders", names, ignored)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[inner[folder]] for folder in folders], np.int64)
    return _Listing("class folders", names, ignored, labels, classes)


def _manifest_labels(
    files: _Folder | _Zip, name: str, images: Sequence[str], where: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    try:
        manifest, base = json.loads(files.read(name)), name.removesuffix(MANIFEST)
        pairs, classes = manifest.get("labels"), manifest.get("classes")
        if pairs is None:
            return None, ()
        class_names = None if classes is None else tuple(map(str, classes))
        labels = {base + image.replace("\\", "/"): label for image, label in pairs}
        if any(type(label) is not int or label < 0 for label in labels.values()) or len(labels) < len(pairs):
            raise ValueError
    except (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile):
        raise UserError(
            f'{where} is not understood: expected {{"labels": [["file name", class number], …] or null, '
            '"classes": ["name", …] (optional)}, with class numbers from 0 and every file named once'
        ) from None
    if missing := sorted(labels.keys() - set(images)):
        raise UserError(
            f"{where} names {len(missing)} files that are not there or are no images, such as {missing[0]}: "
            "add the files or take their lines out"
        )
    if unlabelled := sorted(set(images) - labels.keys()):
        raise UserError(
            f"{where} gives no label for {len(unlabelled)} images, such as {unlabelled[0]}: "
            'add their labels, remove the images, or write "labels": null'
        )
    needed = max(labels.values()) + 1
    class_names = class_names or tuple(map(str, range(needed)))
    if len(class_names) < needed:
        raise UserError(f"{where} uses class number {needed - 1} but names only {len(class_names)} classes")
    return np.array([labels[image] for image in images], np.int64), class_names


def _open_image(data: bytes) -> Image.Image:
    """The first frame, fully decoded and the right way up."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.width}×{image.height} is over the limit of {Image.MAX_IMAGE_PIXELS} pixels")
    image.load()
    # A damaged EXIF block says nothing about the orientation; the pixels are sound.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _eight_bit(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 0xFFFF) // 256).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def decode(data: bytes, *, size: int, channels: int) -> np.ndarray:
    """An image file's bytes to (channels, size, size) uint8, channels 1 or 3: its centre square, resized.

    EXIF orientation is applied, transparency composited on white, 16 bits divided by 256. Lanczos shrinks,
    bicubic enlarges; a square of that size is untouched. Raises whatever Pillow does on damaged files.
    """
    image = _open_image(data)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = _eight_bit(image.crop((left, top, left + side, top + side)), "L" if channels == 1 else "RGB")
    if side != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels).transpose(2, 0, 1).copy()


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return str(error) or type(error).__name__


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
    files: _Folder | _Zip | None = None

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
            raise UnreadableImage(name, _reason(error)) from error


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

    files = _open_files(path)
    listing = _list(files, path)
    return Source(
        name=Path(path).expanduser().resolve().name.removesuffix(".zip"),
        size=size,
        channels=_probe_channels(files, listing.names) if channels is None else channels,
        class_names=listing.class_names,
        labels=listing.labels,
        names=listing.names,
        ignored=listing.ignored,
        files=files,
    )


def _probe_channels(files: _Folder | _Zip, names: Sequence[str]) -> int:
    for name in names[:PROBED_IMAGES]:
        try:
            mode = Image.open(io.BytesIO(files.read(name)), formats=FORMATS).mode
        except Exception:  # Damaged files are counted and named when the images are loaded.
            continue
        if mode not in GREY_MODES:
            return 3
    return 1


def check_unreadable(failures: Sequence[UnreadableImage], total: int) -> None:
    """Raises UserError, naming up to five, unless under 1 % of `total` images could not be read."""
    if failures and 100 * len(failures) >= total:
        named = "\n".join(f"  {failure.name}: {failure.reason}" for failure in failures[:5])
        raise UserError(
            f"too many images cannot be read: at least {len(failures)} of {total} (under 1 % are skipped). "
            f"Repair or remove\n{named}" + ("\n  …" if len(failures) > 5 else "")
        )


def split(
    n: int, heldout: float, fraction: float = 1.0, seed: int = 0, max_images: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, held-out) of `n` images, a function of the arguments alone.

    `heldout` is a fraction of n (float) or a count (int), set aside first, whatever `fraction` is. `fraction`
    in (0, 1] of the remaining, at most `max_images`, is trained on; for one seed a smaller subset lies inside
    every larger one. Raises UserError if nothing is left to train on.
    """
    count = heldout if isinstance(heldout, int) else round(n * heldout)
    if not 0 <= count < n:
        raise UserError(f"holding out {heldout} of {n} images leaves none to train on: lower data.heldout")
    if not 0 < fraction <= 1:
        raise UserError(f"data.fraction must be over 0 and at most 1, not {fraction}")
    kept = min(round(fraction * (n - count)), n if max_images is None else max_images)
    if kept < 1:
        raise UserError(f"data.fraction {fraction} of {n - count} images is none: raise it or data.max_images")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[count : count + kept]), np.sort(order[:count])


def fingerprint(images: Iterable[np.ndarray], labels: Iterable[int] | None = None) -> str:
    """SHA-256 (hex) of the content: (C, H, W) uint8 images one by one, how many, their shape, and the labels.

    An (N, C, H, W) array and any iterable over its images have the same fingerprint; names play no part. The
    labels are iterated over after the last image.
    """
    digest, count, shape = hashlib.sha256(), 0, None
    for image in images:
        digest.update(np.asarray(image, np.uint8).tobytes())
        count, shape = count + 1, image.shape
    digest.update(repr((count, shape, labels is not None)).encode())
    if labels is not None:
        digest.update(np.fromiter(labels, "<i8").tobytes())
    return digest.hexdigest()


class _Look(NamedTuple):
    mode: str
    size: tuple[int, int]


def describe(path: str, *, threads: int = THREADS) -> dict[str, Any]:
    """Everything `steadygan data info PATH` prints, after decoding every image; JSON-ready.

    Keys: path, layout, count (images, the unreadable included), ignored (other files), labelled, classes
    {name: count}, width_height {smallest, largest, most_common} as (width, height), pixel_modes {Pillow
    mode: count}, channels (as training would choose them), unreadable {name: reason}.
    """
    looked: list[_Look | UnreadableImage]
    if path in EMBEDDED:
        source = open_source(path, size=8)
        channels = source.channels
        listing = _Listing("embedded", ("",) * len(source), 0, source.labels, source.class_names)
        looked = [_Look("L" if channels == 1 else "RGB", (8, 8))] * len(source)
    else:
        files = _open_files(path)
        listing = _list(files, path)
        channels = _probe_channels(files, listing.names)
        with ThreadPoolExecutor(threads) as pool:
            looked = list(pool.map(partial(_look, files), listing.names))

    seen = [entry for entry in looked if isinstance(entry, _Look)]
    sizes = Counter(entry.size for entry in seen)
    extent = (min(sizes, key=math.prod), max(sizes, key=math.prod), sizes.most_common(1)[0][0]) if seen else ()
    counts = Counter([] if listing.labels is None else listing.labels.tolist())
    return {
        "path": path,
        "layout": listing.layout,
        "count": len(listing.names),
        "ignored": listing.ignored,
        "labelled": listing.labels is not None,
        "classes": {name: counts[label] for label, name in enumerate(listing.class_names)},
        "width_height": dict(zip(("smallest", "largest", "most_common"), extent, strict=False)),
        "pixel_modes": dict(Counter(entry.mode for entry in seen).most_common()),
        "channels": channels,
        "unreadable": {entry.name: entry.reason for entry in looked if isinstance(entry, UnreadableImage)},
    }


def _look(files: _Folder | _Zip, name: str) -> _Look | UnreadableImage:
    try:
        image = _open_image(files.read(name))
        _eight_bit(image, "RGB")
    except Exception as error:
        return UnreadableImage(name, _reason(error))
    return _Look(image.mode, image.size)
