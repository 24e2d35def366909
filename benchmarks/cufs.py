"""CSGAN against CycleGAN (and pix2pix) on pairs of face sketches and photos: equal budget, several seeds, a row a run.

    python benchmarks/cufs.py --data cufs_pairs.zip --seeds 0 1 2 --runs runs/cufs [key.path=value …]

Each run is `steadygan train PRESET train.seed=SEED …` scored on the test pairs; a run that is already in --runs is not
trained again. Prints mean ± standard deviation of all rows. --sheet draws the translations of the
first test images by the runs of the first seed: generated images only.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import steadygan
from steadygan import config
from steadygan.generators.loading import load_translator
from steadygan.pictures.grid import save_grid
from steadygan.runs.status import is_finished
from steadygan.tasks.choice import build_images

METHODS: dict[str, tuple[str, ...]] = {
    "csgan": ("cufs-csgan",),
    "csgan-attached": ("cufs-csgan", "objective.terms.synthesised.detach=false"),
    "cyclegan": ("cufs-cyclegan",),
    "pix2pix": ("cufs-pix2pix",),
}
"""A preset and overrides; `attached`: the cycled image learns from CSGAN's term too, which its formula leaves open."""
SCORES = [f"{score}_{direction}" for direction in ("a2b", "b2a") for score in ("SSIM", "PSNR", "MSE")]
COLUMNS = (
    *("method", "seed", *SCORES, "steps", "images", "size", "width", "seconds", "threads"),
    *("protocol", "reals_sha256", "commit", "torch", "command"),
)
SMALL = [
    *("data.size=64", "model.width=8", "train.batch_size=2", "train.steps=600", "optim.decay_from=300"),
    *("optim.g.lr=5e-4", "optim.d.lr=5e-4", "train.log_every=100", "train.sample_every=300"),
]
"""What fits a minute of one CPU core."""


def train(method: str, seed: int, data: Path, runs: Path, overrides: list[str]) -> dict[str, Any]:
    """One run; returns its CSV row."""
    out = runs / f"{method}-{seed}"
    preset, *of_method = METHODS[method]
    options = [f"train.seed={seed}", *overrides, *of_method]
    if not is_finished(out):
        if (out / "config.yaml").exists():
            steadygan.train(out, resume=True)
        else:
            steadygan.train(preset, [f"data.path={data}", *options], out=out)
    score = json.loads((out / "scores.jsonl").read_text().splitlines()[0])
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    resolved, protocol = config.load(out), score["protocol"]
    return {
        "method": method,
        "seed": seed,
        **{name: round(score[name], 4) for name in SCORES if name in score},
        "steps": last["step"],
        "images": last["images"],
        "size": resolved.data.size,
        "width": resolved.model.width,
        "seconds": round(last["seconds"]),
        "threads": torch.get_num_threads(),
        "protocol": "{name}: all {split} pairs, {fit}, {weights}, torchmetrics {torchmetrics}".format(**protocol),
        "reals_sha256": protocol["reals_sha256"][:12],
        "commit": COMMIT,
        "torch": protocol["torch"],
        "command": " ".join(["steadygan train", preset, f"data.path={data.name}", *options]),
    }


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


COMMIT = git("rev-parse", "--short", "HEAD")
"""Of the code that runs, read when it starts."""


def summary(rows: list[dict[str, str]]) -> str:
    """A Markdown table: mean ± standard deviation over seeds, for each size of images."""
    lines = [f"| size | method | runs | {' | '.join(SCORES)} |", "|---:|---|---:|" + "---:|" * len(SCORES)]
    for size, method in product(sorted({int(row["size"]) for row in rows}), METHODS):
        mine = [row for row in rows if row["method"] == method and row["size"] == str(size)]
        cells = []
        for name in SCORES:
            values = [float(row[name]) for row in mine if row[name]]
            cells.append(f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else "")
        if mine:
            lines.append(f"| {size} | {method} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(methods: list[str], seed: int, runs: Path, path: Path, rows: int = 6) -> None:
    """A column for each method and direction, a row for each of the first test images."""
    columns = []
    for method in methods:
        run = runs / f"{method}-{seed}"
        test = build_images(config.load(run), torch.device("cpu")).heldout
        assert test is not None
        domains = dict(zip("ab", test.take(torch.arange(rows)), strict=True))
        translator = load_translator(run)
        columns += [translator.translate(domains[direction[0]], direction) for direction in translator.directions]
    save_grid(torch.stack(columns, 1).flatten(0, 1), path, len(columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["csgan", "cyclegan"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/cufs.csv"))
    parser.add_argument("--runs", type=Path, required=True, help="where the run directories are kept")
    parser.add_argument("--sheet", type=Path, help="where to draw the first seed's images, as PNG")
    parser.add_argument("overrides", nargs="*", default=SMALL, help="key.path=value for every run")
    options = parser.parse_args()

    for seed in options.seeds:
        for method in options.methods:
            row = train(method, seed, options.data, options.runs, options.overrides)
            fresh = not options.out.exists()
            with options.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
            print(*(row.get(name, "") for name in COLUMNS[:8]), flush=True)
    if options.sheet is not None:
        draw(options.methods, options.seeds[0], options.runs, options.sheet)
    print(summary(list(csv.DictReader(options.out.open(newline="")))))


if __name__ == "__main__":
    main()
