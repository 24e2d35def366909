"""Predicts the memory of large images: how many fit into 8, 12, 24 and 80 GB at a time, for docs/hardware.md.

    python benchmarks/memory.py [--out results/memory.csv] [--only RECIPE …]

A step is predicted as `steadygan train --dry-run` predicts it (`steadygan.estimate`), with the arithmetic of a GPU in
16 bits, for two micro-batches; its peak is extrapolated in proportion to the images. A tenth of a
card is left to libraries and gaps. Nothing is trained and no GPU is needed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from steadygan import build, config
from steadygan.data.images import load_images
from steadygan.data.source import Source
from steadygan.estimate import ROOM, estimate_cost

PAGE = Path(__file__).parents[1] / "docs" / "hardware.md"
BEGIN, END = "<!-- memory: made by benchmarks/memory.py -->", "<!-- /memory -->"
CARDS = (8, 12, 24, 80)
"""GB of memory, 10^9 bytes."""
IMAGES = 8, 16
"""Images of the two predicted steps: with 2 and 4 networks and Adam are the peak where activations are recomputed."""
RECIPES: dict[str, tuple[str, ...]] = {
    "fastgan-512": ("obama256-fastgan", "data.size=512"),
    "stylegan2-512": ("cifar10-stylegan2-ada", "data.size=512", "model.conditional=false"),
    "stylegan2-1024": ("cifar10-stylegan2-ada", "data.size=1024", "model.conditional=false"),
    "r3gan-512": ("ffhq256-r3gan-onegpu", "data.size=512"),
    "biggan-512": ("imagenet512-biggan",),
}
FIXED = ("train.precision=float16", "train.winograd=false", "train.accumulate=1", "train.g_batch_size=null")
CLASSES = {"biggan-512": 1000}


def peak(recipe: str, images: int, *, recompute: bool) -> int:
    """Bytes at the peak of a step with so many images at a time."""
    preset, *overrides = RECIPES[recipe]
    more = (f"train.batch_size={images}", f"train.recompute={str(recompute).lower()}")
    cfg = build.resolve(config.load(preset, [*overrides, *FIXED, *more]))
    classes, size = CLASSES.get(recipe, 0), cfg.data.size
    count = max(images, classes, 4)
    pixels = np.broadcast_to(np.zeros((1, 3, 1, 1), np.uint8), (count, 3, size, size))
    names, labels = tuple(map(str, range(classes))), np.arange(count) % classes if classes else None
    loaded = load_images(Source("noise", size, 3, names, labels, images=pixels), np.arange(images))
    cost = estimate_cost(cfg, loaded, torch.device("cpu"))
    return cost.peak - cost.images


def rows(recipes: Sequence[str]) -> Iterator[dict[str, object]]:
    """One row a recipe, with and without recomputing."""
    for recipe, recompute in itertools.product(recipes, (False, True)):
        low, high = (peak(recipe, images, recompute=recompute) for images in IMAGES)
        each = (high - low) / (IMAGES[1] - IMAGES[0])
        fixed = low - IMAGES[0] * each
        room = {f"images_in_{card}_gb": max(0, int((ROOM * card * 1e9 - fixed) // each)) for card in CARDS}
        yield {
            "recipe": recipe,
            "recompute": recompute,
            "fixed_gb": round(fixed / 1e9, 2),
            "image_gb": round(each / 1e9, 2),
            **room,
        }


def table(made: list[dict[str, str]]) -> str:
    """The rows for docs/hardware.md."""
    lines = [
        "| recipe | networks and Adam, GB | an image, GB | " + " | ".join(f"{card} GB" for card in CARDS) + " |",
        "|---|---|---|" + "---|" * len(CARDS),
    ]
    for row in made:
        name = f"{row['recipe']}{', recomputing' if row['recompute'] == 'True' else ''}"
        fitting = [row[f"images_in_{card}_gb"] for card in CARDS]
        counts = " | ".join("–" if count == "0" else count for count in fitting)
        lines.append(f"| {name} | {row['fixed_gb']} | {row['image_gb']} | {counts} |")
    return "Images at a time, float16 or bf16:\n\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/memory.csv"))
    parser.add_argument("--only", nargs="+", choices=RECIPES, help="these recipes")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    known: dict[tuple[str, str], dict[str, str]] = {}
    if options.out.exists():
        with options.out.open(newline="", encoding="utf-8") as file:
            known = {(row["recipe"], row["recompute"]): dict(row) for row in csv.DictReader(file)}
    order = [(recipe, flag) for recipe in RECIPES for flag in ("False", "True")]
    for row in rows(options.only or list(RECIPES)):
        key = str(row["recipe"]), str(row["recompute"])
        known[key] = {"commit": commit.strip(), "torch": torch.__version__, **{k: str(v) for k, v in row.items()}}
        made = [known[key] for key in order if key in known]  # rows of an earlier call stay
        print(row, flush=True)
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, made[0])
            writer.writeheader()
            writer.writerows(made)
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table(made)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(f"written     {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
