"""Decoded images in a file, for sets that do not fit in memory: built once, then mapped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import shutil
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
from steadygan.data.parallel import THREADS, in_order
from steadygan.data.source import Source
from steadygan.errors import UserError
from steadygan.files import whole_directory

VERSION = 1
PART = 64
PIXELS, CHECKSUMS, UNREADABLE = "pixels.npy", "crc32.npy", "unreadable.json"


class DamagedCache(Exception):
    """The file does not hold what was written into it."""


@dataclass(frozen=True, eq=False)
class Cache:
    """All images of a source as one memory-mapped tensor `pixels` (N, C, H, W) uint8, by their numbers in the source.

    `unreadable` gives the reason for each image that could not be decoded, whose pixels are zero.
    """

    path: Path
    source: Source
    pixels: Tensor
    checksums: np.ndarray
    unreadable: dict[int, str]

    def read(self, indices: np.ndarray) -> list[np.ndarray | UnreadableImage]:
        """Images by number, each checked against what was written. Raises DamagedCache."""
        images = self.pixels[torch.from_numpy(indices)].numpy()
        for index, image in zip(indices, images, strict=True):
            if zlib.crc32(image) != self.checksums[index]:
                raise DamagedCache(f"image {index}")
        return [
            UnreadableImage(self.source.names[index], self.unreadable[index]) if index in self.unreadable else image
            for index, image in zip(indices.tolist(), images, strict=True)
        ]


def cache_key(source: Source) -> str:
    """What a cache of `source` is kept under: SHA-256 over every stored byte, the names, and how they are decoded.

    Sizes and times of files are no part of it: whatever changes a byte gives another key, whatever only moves or
    touches the data gives the same.
    """
    description = [VERSION, PIL.__version__, source.size, source.channels, source.names, source.digest]
    return hashlib.sha256(json.dumps(description).encode()).hexdigest()


def open_cache(
    source: Source,
    root: Path,
    *,
    max_unreadable: float = MAX_UNREADABLE,
    progress: Callable[[int, int], None] | None = None,
    threads: int = THREADS,
) -> Cache:
    """The cache of all images of `source` below `root`, built if it is not there, by one process at a time.

    It is written aside, synced and renamed. Raises UserError if the disk has no room for it or too many images are
    unreadable.
    """
    path = root / cache_key(source)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{path.name}.lock"):
            try:
                return _open(path, source)
            except (OSError, ValueError, EOFError, DamagedCache):
                shutil.rmtree(path, ignore_errors=True)
            _check_room(source, root)
            with whole_directory(path) as temporary:
                _build(source, temporary, max_unreadable, progress, threads)
            return _open(path, source)
    except OSError as error:
        raise UserError(
            f"{root}: the cache of decoded images cannot be written ({error.strerror}): set STEADYGAN_CACHE to "
            "another folder, or data.cache=false to decode at each use"
        ) from error


def remove_cache(cache: Cache) -> None:
    """Deletes a cache that proved damaged."""
    shutil.rmtree(cache.path, ignore_errors=True)


def _shape(source: Source) -> tuple[int, int, int, int]:
    return len(source), source.channels, source.size, source.size


def _open(path: Path, source: Source) -> Cache:
    # Copy on write, as torch warns of arrays it may not write to; nothing ever does.
    pixels, checksums = np.load(path / PIXELS, mmap_mode="c"), np.load(path / CHECKSUMS)
    unreadable = json.loads((path / UNREADABLE).read_text(encoding="utf-8"))
    if pixels.shape != _shape(source) or pixels.dtype != np.uint8 or checksums.shape != (len(source),):
        raise DamagedCache("its shape")
    _advise(pixels)
    return Cache(
        path, source, torch.from_numpy(pixels), checksums, {int(index): why for index, why in unreadable.items()}
    )


def _advise(pixels: np.memmap) -> None:
    """Batches are drawn in random order: reading ahead would read most pages for nothing."""
    mapping = pixels._mmap  # type: ignore[attr-defined]
    if hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)


def _build(
    source: Source, folder: Path, max_unreadable: float, progress: Callable[[int, int], None] | None, threads: int
) -> None:
    shape = _shape(source)
    checksums: list[int] = []
    failures: list[UnreadableImage] = []
    unreadable: dict[int, str] = {}
    parts = (range(start, min(start + PART, len(source))) for start in range(0, len(source), PART))
    with (folder / PIXELS).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for entries in in_order(partial(_read, source), parts, threads):
            for entry in entries:
                if isinstance(entry, UnreadableImage):
                    failures.append(entry)
                    unreadable[len(checksums)] = entry.reason
                    check_unreadable(failures, len(source), max_unreadable)
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
    needed, free = int(np.prod(_shape(source), dtype=np.int64)), shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"the decoded images take {needed / 2**30:.1f} GiB, but {root} has room for {free / 2**30:.1f}: set "
            "STEADYGAN_CACHE to a folder with room, or data.cache=false to decode at each use"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time; the others wait, and then find what it has built."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
