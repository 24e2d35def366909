"""The loader's images per second, alone: from memory, from a memory-mapped file, and decoding at each use.

    python benchmarks/loader.py --size 64 --count 1000000 --memory-count 50000 --out results/loader.csv
    python benchmarks/loader.py --size 32 --count 50000 --places memory --out results/loader.csv

The source is synthetic: 997 smooth images as PNG, repeated. The memory-mapped file (12 KiB an image at 64 px) is made
in a temporary folder, or below --cache, where it stays for the next time; `mapped, cold` reads it after the system was
asked to drop it from its page cache. Rounds of the places alternate, cold ones at the end; the rates are the median
round's, by the clock and by the CPU time of all threads, which other work on the machine hardly changes. start_cpu_s is
what it takes to open the set: for the mapped file, when it is there, to check every image of it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from steadygan.data.cache import PIXELS, Cache, open_cache
from steadygan.data.containers.base import Container
from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import Source

DISTINCT = 997
PLACES = ("memory", "mapped", "mapped, cold", "decoding")


class Repeated(Container):
    """`count` names that stand for DISTINCT files in turn."""

    def __init__(self, count: int, size: int) -> None:
        self.count, generator = count, np.random.default_rng(0)
        self.files = []
        for _ in range(DISTINCT):
            coarse = generator.integers(256, size=(8, 8, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC).save(file, "PNG")
            self.files.append(file.getvalue())

    def names(self) -> Iterator[str]:
        return map(str, range(self.count))

    def read(self, name: str) -> bytes:
        return self.files[int(name) % DISTINCT]

    def digest(self, names: Sequence[str]) -> str:
        return hashlib.sha256(b"".join(self.files) + str(self.count).encode()).hexdigest()


def source_of(count: int, size: int) -> Source:
    files = Repeated(count, size)
    return Source("synthetic", size, 3, ("a", "b"), np.arange(count) % 2, names=tuple(files.names()), files=files)


def drop_from_page_cache(mapped: Cache) -> None:
    mapped.mapping.madvise(mmap.MADV_DONTNEED)  # pages in use would stay
    with (mapped.path / PIXELS).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rates_of(loader: Loader, batches: int) -> tuple[float, float]:
    """Images a second by the clock, and a second of CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        loader.next()
    images = batches * loader.batch_size
    return images / (time.perf_counter() - clock), images / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--memory-count", type=int, help="images held in memory (default: --count)")
    parser.add_argument("--decoding-count", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=200, help="in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps the memory-mapped file (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    torch.set_num_threads(1)
    counts = dict.fromkeys(PLACES, options.count) | {"decoding": min(options.count, options.decoding_count)}
    counts["memory"] = options.memory_count or options.count
    opened: dict[str, float] = {}
    sets: dict[str, ImageSet] = {}
    rates: dict[str, list[tuple[float, float]]] = {place: [] for place in options.places}
    with ExitStack() as stack:
        folder = options.cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for place in options.places:
            if place == "mapped, cold" and "mapped" in sets:
                sets[place], opened[place] = sets["mapped"], opened["mapped"]
                continue
            source_here = source_of(counts[place], options.size)
            cache = folder if place.startswith("mapped") else None
            if cache is not None:
                open_cache(source_here, cache)
            cpu = time.process_time()
            limit = sys.maxsize if place == "memory" else 0
            sets[place] = load_images(source_here, range(counts[place]), memory_limit=limit, cache=cache)
            opened[place] = time.process_time() - cpu
            print(f"{place}: {counts[place]:,} images {sets[place].place}, {opened[place]:.1f} CPU s", flush=True)
        # What is dropped for cold reading must not be missing when the same file is read warm: cold rounds come last.
        places = [place for place in options.places if place != "mapped, cold"] * options.rounds
        places += [place for place in options.places if place == "mapped, cold"] * options.rounds
        for turn, place in enumerate(places):
            loader = Loader(sets[place], batch_size=options.batch_size, seed=turn, flip=True)
            if place == "mapped, cold":
                mapped = sets[place].mapped
                assert mapped is not None
                drop_from_page_cache(mapped)
            loader.next()
            rates[place].append(rates_of(loader, options.batches))
            loader.close()

    rows = [
        {
            "place": place,
            "size": options.size,
            "batch_size": options.batch_size,
            "images": counts[place],
            "images_per_s": round(median(clock for clock, _ in rates[place])),
            "slowest_round": round(min(rates[place])[0]),
            "fastest_round": round(max(rates[place])[0]),
            "images_per_cpu_s": round(median(cpu for _, cpu in rates[place])),
            "start_cpu_s": round(opened[place], 1),
            "machine": f"{os.cpu_count()}-core CPU, 1 torch thread, load {os.getloadavg()[0]:.1f}",
            "torch": torch.__version__.partition("+")[0],
            "commit": commit.stdout.strip(),
            "command": f"python {' '.join(sys.argv)}",
        }
        for place in options.places
    ]
    new = not options.out.exists()
    with options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        if new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(f"{row['place']:<14}{row['images_per_s']:>10,} images/s of {row['images']:,}")


if __name__ == "__main__":
    main()
