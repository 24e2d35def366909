"""A file of decoded images, for data sets that do not fit in memory: built once, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import shutil
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
import torch
from torch import Tensor

from steadygan.data.decoding import MAX_UNREADABLE, UnreadableImage, check_unreadable
from steadygan.data.ordered import THREADS, in_order
from steadygan.data.source import Source
from steadygan.errors import UserError
from steadygan.files import lock, whole_directory

VERSION = 1
_SEEKING = threading.Lock()
PART_IMAGES, PART_BYTES = 64, 4 << 20
PIXELS, CHECKSUMS, UNREADABLE = "pixels.u8", "crc32.npy", "unreadable.json"


class DamagedCache(Exception):
    """The file's content differs from what was written."""


@dataclass(frozen=True, eq=False)
class Cache:
    """All images of a source as one memory-mapped tensor `pixels` (N, C, H, W) uint8, indexed as in the source.

    `file` is the same file's descriptor, open as long as the mapping.
    `unreadable` gives the reason for each image that could not be decoded, whose pixels are zero.
    """

    path: Path
    source: Source
    file: int
    mapping: mmap.mmap
    pixels: Tensor
    checksums: np.ndarray
    unreadable: dict[int, str]

    def take(self, indices: np.ndarray) -> Tensor:
        """Images by index, in any order: (B, C, H, W) uint8. Raises UserError if the file was truncated."""
        # Positional reads: the page faults of a mapping, several per image, cost more than a copy.
        images = torch.empty((len(indices), *self.pixels.shape[1:]), dtype=torch.uint8)
        places, length = images.numpy(), self.pixels[0].numel()
        starts = (indices * length).tolist()
        if hasattr(os, "posix_fadvise"):  # so that the disk sees the whole batch at once
            for start in starts:
                os.posix_fadvise(self.file, start, length, os.POSIX_FADV_WILLNEED)
        for place, start in zip(places, starts, strict=True):
            if _read_at(self.file, place, start) != length:
                raise UserError(f"{self.path} was truncated while in use; start again to rebuild it")
        return images

    def read(self, indices: np.ndarray) -> list[np.ndarray | UnreadableImage]:
        """Images by index, in order, each verified against its checksum. Raises DamagedCache."""
        images = self.pixels[torch.from_numpy(indices)].numpy()
        for index, image in zip(indices, images, strict=True):
            if zlib.crc32(image) != self.checksums[index]:
                raise DamagedCache(f"image {index}")
        return [
            UnreadableImage(self.source.names[index], self.unreadable[index]) if index in self.unreadable else image
            for index, image in zip(indices.tolist(), images, strict=True)
        ]


def cache_key(source: Source) -> str:
    """The cache key of `source`: SHA-256 over all stored bytes, the names and the decoding settings.

    File sizes and times are not included: any changed byte changes the key, moving or touching files does not.
    """
    decoding = [VERSION, PIL.__version__, source.size, source.channels]
    description = [*decoding, source.names, source.digest, *source.variant]
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()


def open_cache(
    source: Source,
    root: Path,
    *,
    max_unreadable: float = MAX_UNREADABLE,
    total: int = 0,
    progress: Callable[[int, int], None] | None = None,
    threads: int = THREADS,
) -> Cache:
    """Opens the cache of all images of a source; builds it if missing, in one process at a time.

    The file is written under a temporary name, synced and renamed.

    Args:
        source: the images.
        root: the folder that holds caches.
        max_unreadable: fraction of images, in [0, 1], that may be unreadable.
        total: number of images to which that fraction refers, if larger than the source's.
        progress: called with (done, total).
        threads: number of decoding threads.

    Raises:
        UserError: the disk is full, or more images are unreadable than allowed.
    """
    path = root / cache_key(source)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{path.name}.lock"):
            try:
                return _open(path, source)
            except (OSError, ValueError, EOFError, TypeError, AttributeError, RecursionError, DamagedCache):
                for leftover in (path, *root.glob(f".{path.name}-*")):  # left by a killed builder
                    shutil.rmtree(leftover, ignore_errors=True)
            _check_room(source, root)
            with whole_directory(path) as temporary:
                _build(source, temporary, max_unreadable, max(total, len(source)), progress, threads)
            return _open(path, source)
    except OSError as error:
        raise UserError(
            f"{root}: the cache of decoded images cannot be written ({error.strerror}): set STEADYGAN_CACHE to "
            "another folder, or data.cache=false to decode each batch"
        ) from error


def _read_at(file: int, place: np.ndarray, start: int) -> int:
    """Fills an array from a position in a file; returns the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(file, [place.data], start)
    with _SEEKING:  # without pread, all threads share the descriptor's position
        os.lseek(file, start, os.SEEK_SET)
        data = os.read(file, place.nbytes)
    place.reshape(-1)[: len(data)] = np.frombuffer(data, np.uint8)
    return len(data)


def remove_cache(cache: Cache) -> None:
    """Deletes a damaged cache."""
    shutil.rmtree(cache.path, ignore_errors=True)


def _shape(source: Source) -> tuple[int, int, int, int]:
    return len(source), source.channels, source.size, source.size


def _open(path: Path, source: Source) -> Cache:
    shape, checksums = _shape(source), np.load(path / CHECKSUMS)
    unreadable = json.loads((path / UNREADABLE).read_text(encoding="utf-8"))
    file = os.open(path / PIXELS, os.O_RDONLY)
    try:
        # Copy on write, as torch warns about read-only memory; nothing writes to it.
        mapping = mmap.mmap(file, 0, access=mmap.ACCESS_COPY)
    except BaseException:
        os.close(file)
        raise
    weakref.finalize(mapping, os.close, file)
    if len(mapping) != math.prod(shape) or checksums.shape != shape[:1]:
        raise DamagedCache("its length")
    pixels = torch.frombuffer(mapping, dtype=torch.uint8).view(shape)
    return Cache(path, source, file, mapping, pixels, checksums, {int(index): why for index, why in unreadable.items()})


def _build(
    source: Source,
    folder: Path,
    max_unreadable: float,
    total: int,
    progress: Callable[[int, int], None] | None,
    threads: int,
) -> None:
    shape = _shape(source)
    checksums: list[int] = []
    failures: list[UnreadableImage] = []
    unreadable: dict[int, str] = {}
    length = max(1, min(PART_IMAGES, PART_BYTES // math.prod(shape[1:])))
    parts = (range(start, min(start + length, len(source))) for start in range(0, len(source), length))
    with (folder / PIXELS).open("wb") as file:
        for entries in in_order(partial(_read, source), parts, threads):
            for entry in entries:
                if isinstance(entry, UnreadableImage):
                    failures.append(entry)
                    unreadable[len(checksums)] = entry.reason
                    check_unreadable(failures, total, max_unreadable)
                    entry = np.zeros(shape[1:], np.uint8)
                checksums.append(_write(file, entry))
            if progress is not None:
                progress(len(checksums), len(source))
    np.save(folder / CHECKSUMS, np.array(checksums, np.uint32))
    (folder / UNREADABLE).write_text(json.dumps(unreadable), encoding="utf-8")


def _write(file: BinaryIO, image: np.ndarray) -> int:
    data = image.tobytes()
    file.write(data)
    return zlib.crc32(data)


def _read(source: Source, part: range) -> list[np.ndarray | UnreadableImage]:
    return [source.try_read(index) for index in part]


def _check_room(source: Source, root: Path) -> None:
    needed, free = math.prod(_shape(source)), shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"the decoded images take {needed / 2**30:.1f} GiB, but {root} has room for {free / 2**30:.1f}: set "
            "STEADYGAN_CACHE to a folder with room, or data.cache=false to decode each batch"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Context manager: a lock held by one process at a time; the others wait, then find the built file."""
    held = lock(path, seconds=-1)
    assert held is not None
    try:
        yield
    finally:
        held.release()
