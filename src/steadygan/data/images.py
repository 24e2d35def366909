"""Image sets: decoded on a device, memory-mapped, or decoded on the fly."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from steadygan.data.cache import Cache, DamagedCache, open_cache, remove_cache
from steadygan.data.content import fingerprint
from steadygan.data.decoding import MAX_UNREADABLE, UnreadableImage, check_unreadable
from steadygan.data.free_memory import free_bytes
from steadygan.data.ordered import THREADS
from steadygan.data.source import Source
from steadygan.errors import UserError
from steadygan.progress import tell

CHUNK = 256


class ImageSet:
    """Images with labels, by index, on a device. Made by `load_images`.

    Streamed images come from a memory-mapped file or are decoded at each use. `labels` is (N,) int64 on the device, or
    None.

    Args:
        source: the images.
        indices: (N,) indices into `source`.
        pixels: (N, C, H, W) uint8 on the device; None if streamed.
        mapped: the memory-mapped file of all images of the source, if any.
        device: the device of batches.
        skipped: names of unreadable images, which have no index.
        fingerprint: hash of the content, independent of its place.
        threads: decoding threads.
    """

    noun = "images"

    def __init__(
        self,
        source: Source,
        indices: np.ndarray,
        *,
        pixels: Tensor | None,
        mapped: Cache | None = None,
        device: torch.device,
        skipped: list[str],
        fingerprint: str,
        threads: int,
    ) -> None:
        self.source, self.indices, self.pixels, self.mapped, self.device = source, indices, pixels, mapped, device
        self.class_names, self.size, self.channels = source.class_names, source.size, source.channels
        self.labels = None if source.labels is None else torch.from_numpy(source.labels[indices]).to(device)
        self.skipped, self.fingerprint = skipped, fingerprint
        self._threads, self._pool = threads, None if pixels is not None else ThreadPoolExecutor(threads)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def streamed(self) -> bool:
        """Whether images are read from disk at each use."""
        return self.pixels is None

    @property
    def place(self) -> str:
        """Description of where the images are kept."""
        if self.pixels is not None:
            return f"in memory ({self.device})"
        return "decoded at each use" if self.mapped is None else "in a memory-mapped file"

    def take(self, indices: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """The images at `indices` (B,): (B, C, H, W) uint8 on the device. Raises UnreadableImage."""
        indices = torch.as_tensor(indices, dtype=torch.int64)
        if self.pixels is not None:
            return self.pixels.index_select(0, indices.to(self.device))
        return self.gather(self.submit(indices))

    def submit(self, indices: Tensor) -> list[Future[Tensor]]:
        """Streamed sets only: starts reading in the background; `gather` waits for the result."""
        assert self._pool is not None
        numbers = self.indices[indices.cpu().numpy()]
        if self.mapped is not None:
            return [self._pool.submit(self.mapped.take, numbers)]
        return [self._pool.submit(self._read, part) for part in np.array_split(numbers, self._threads) if len(part)]

    def gather(self, parts: Sequence[Future[Tensor]]) -> Tensor:
        """The batch started by `submit`: (B, C, H, W) uint8 on the device."""
        read = [part.result() for part in parts]
        if not read:
            read = [torch.empty((0, self.channels, self.size, self.size), dtype=torch.uint8)]
        images = read[0] if len(read) == 1 else torch.cat(read)
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)

    def _read(self, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack([self.source.read(index) for index in indices]))

    def close(self) -> None:
        """Stops the reading threads of a streamed set."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def load_images(
    source: Source,
    indices: np.ndarray | Sequence[int],
    *,
    device: torch.device | str = "cpu",
    memory_limit: int | None = None,
    cache: Path | None = None,
    max_unreadable: float = MAX_UNREADABLE,
    total: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = THREADS,
) -> ImageSet:
    """Loads the images of `source` at `indices`, in that order, without unreadable ones.

    Every image is read once here, so that a damaged file cannot change the order of the stream later, and the
    fingerprint covers exactly the training images. Sets larger than `memory_limit` are streamed.

    Args:
        source: the images, with their size.
        indices: (N,) indices into the source.
        device: the device of batches, which holds images within the limit.
        memory_limit: maximum bytes of uint8 pixels on the device; None: a quarter of its free memory.
        cache: folder for a memory-mapped file of all images of the source, created at first use; None: decode streamed
            images at each use.
        max_unreadable: fraction of images, in [0, 1], that may be unreadable.
        total: number of images to which that fraction refers; None: that of `indices`.
        progress: called with (done, total).
        threads: decoding threads.

    Returns:
        The image set; `skipped` names the unreadable images.

    Raises:
        UserError: more images are unreadable than allowed, or the disk is too small for the cache.
    """
    device, indices = torch.device(device), np.asarray(indices, np.int64)
    total = len(indices) if total is None else total
    shape = (len(indices), source.channels, source.size, source.size)
    if memory_limit is None:
        # Processes of torchrun on one machine share its memory.
        sharers = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        memory_limit = free_memory(device) // 4 // sharers
    resident = math.prod(shape) <= memory_limit
    gather = partial(
        _gather,
        source,
        indices,
        share=max_unreadable,
        total=total,
        device=device,
        threads=threads,
    )
    if resident or cache is None or source.files is None:
        pixels = torch.empty(shape, dtype=torch.uint8, device=device) if resident else None
        with ThreadPoolExecutor(threads) as pool:
            return gather(partial(_decode, source, pool, threads), pixels=pixels, progress=progress)
    for attempt in range(2):
        stored = open_cache(
            source, cache, max_unreadable=max_unreadable, total=total, progress=progress, threads=threads
        )
        try:
            return gather(stored.read, mapped=stored)
        except DamagedCache as damage:
            remove_cache(stored)
            if attempt:
                raise UserError(f"{cache} returns other bytes than were written ({damage}): check the disk") from None
    raise AssertionError


Entry = np.ndarray | UnreadableImage


def _gather(
    source: Source,
    indices: np.ndarray,
    read: Callable[[np.ndarray], list[Entry]],
    *,
    pixels: Tensor | None = None,
    mapped: Cache | None = None,
    share: float,
    total: int,
    device: torch.device,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> ImageSet:
    """Reads all images once, in chunks, into `pixels` unless streamed, and computes their fingerprint."""
    kept: list[int] = []
    failures: list[UnreadableImage] = []

    def readable() -> Iterator[np.ndarray]:
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            entries = read(chunk)
            failures.extend(entry for entry in entries if isinstance(entry, UnreadableImage))
            check_unreadable(failures, total, share)
            images = [entry for entry in entries if isinstance(entry, np.ndarray)]
            if pixels is not None and images:
                pixels[len(kept) : len(kept) + len(images)] = torch.from_numpy(np.stack(images))
            kept.extend(chunk[[isinstance(entry, np.ndarray) for entry in entries]].tolist())
            yield from images
            tell("loading images", start + len(chunk), len(indices))
            if progress is not None:
                progress(start + len(chunk), len(indices))

    # `fingerprint` reads the labels after the last image, when `kept` is complete.
    labels = None if source.labels is None else (source.labels[index] for index in kept)
    content = fingerprint(readable(), labels)
    return ImageSet(
        source,
        np.array(kept, np.int64),
        pixels=None if pixels is None else pixels[: len(kept)],
        mapped=mapped,
        device=device,
        skipped=[failure.name for failure in failures],
        fingerprint=content,
        threads=threads,
    )


def _decode(source: Source, pool: ThreadPoolExecutor, threads: int, indices: np.ndarray) -> list[Entry]:
    def read(part: np.ndarray) -> list[Entry]:
        return [source.try_read(index) for index in part]

    return list(chain.from_iterable(pool.map(read, np.array_split(indices, threads))))


def free_memory(device: torch.device) -> int:
    """Free memory for new tensors on `device`, in bytes; on CPUs known on Linux only, assumed elsewhere."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_bytes()
