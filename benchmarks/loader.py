"""How many images a second the loader gives, alone: from memory, from a memory-mapped file, and decoding at each use.

    python benchmarks/loader.py --size 64 --count 1000000 --memory-count 250000 --out results/loader.csv
    python benchmarks/loader.py --size 32 --count 50000 --places memory --out results/loader.csv

The source is synthetic: 997 smooth images as PNG, repeated. The memory-mapped file is made in a temporary folder below
--cache (12 KiB an image at 64 px) and deleted at the end; `mapped, cold` reads it after the system was asked to drop it
from its page cache. Rounds of the places alternate; the rate is the median round's.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from steadygan.data import ImageSet, Loader, Source, load_images
from steadygan.data.cache import PIXELS
from steadygan.data.containers import Container

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


def source_of(count: int, size: int) -> Source:
    files = Repeated(count, size)
    return Source("synthetic", size, 3, ("a", "b"), np.arange(count) % 2, names=tuple(files.names()), files=files)


def drop_from_page_cache(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rate(loader: Loader, batches: int) -> float:
    began = time.perf_counter()
    for _ in range(batches):
        loader.next()
    return batches * loader.batch_size / (time.perf_counter() - began)


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
    parser.add_argument("--cache", type=Path, help="folder for the memory-mapped file (default: the system's)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    torch.set_num_threads(1)
    source = source_of(options.count, options.size)
    counts = dict.fromkeys(PLACES, options.count) | {"decoding": min(options.count, options.decoding_count)}
    counts["memory"] = options.memory_count or options.count
    seconds: dict[str, tuple[float, float]] = {}
    sets: dict[str, ImageSet] = {}
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        for place in options.places:
            limit = sys.maxsize if place == "memory" else 0
            cache = Path(folder) if place.startswith("mapped") else None
            times = []
            for _ in range(2 if place == "mapped" else 1):
                began = time.perf_counter()
                sets[place] = load_images(source, range(counts[place]), memory_limit=limit, cache=cache)
                times.append(time.perf_counter() - began)
            seconds[place] = times[0], times[-1]
            print(place, counts[place], sets[place].place, sets[place].fingerprint[:12], *times, flush=True)
        rates: dict[str, list[float]] = {place: [] for place in options.places}
        for turn in range(options.rounds):
            for place in options.places:
                loader = Loader(sets[place], batch_size=options.batch_size, seed=turn, flip=True)
                if place == "mapped, cold":
                    drop_from_page_cache(next(Path(folder).glob(f"*/{PIXELS}")))
                loader.next()
                rates[place].append(rate(loader, options.batches))
                loader.close()

    rows = [
        {
            "place": place,
            "size": options.size,
            "batch_size": options.batch_size,
            "images": counts[place],
            "images_per_s": round(median(rates[place])),
            "slowest_round": round(min(rates[place])),
            "fastest_round": round(max(rates[place])),
            "first_start_s": round(seconds[place][0], 1),
            "later_start_s": round(seconds[place][1], 1),
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
