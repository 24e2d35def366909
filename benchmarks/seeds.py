"""Variants of one training, several seeds each: one CSV row per run, and mean ± standard deviation at the end.

    python benchmarks/seeds.py digits --jobs 2
    python benchmarks/seeds.py few-images --jobs 2 data.path=celeba10k.zip eval.reals=celeba10k.zip

A job has its share of the threads. Rows go to results/EXPERIMENT.csv as runs end; a variant and seed that the file
already has at this commit is not run again, nor one whose run directory is in --runs.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import torch

import steadygan
from steadygan.pictures.grid import save_grid
from steadygan.runs.status import is_finished

ACCURACIES = ("D_accuracy_train", "D_accuracy_heldout")
COLUMNS = (
    *("seconds", "images_per_s", "steps", "batch_size", "threads", "jobs"),
    *("protocol", "reals_sha256", "commit", "torch", "command"),
)


@dataclass(frozen=True)
class Experiment:
    """variants: a preset and overrides each; common: overrides of all."""

    variants: dict[str, tuple[str, ...]]
    scores: tuple[str, ...]
    common: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return ("variant", "seed", *self.scores, *ACCURACIES, *COLUMNS)


DIFFAUGMENT = "augment.diffaugment.policy=[color,translation,cutout]"
EXPERIMENTS = {
    "digits": Experiment(
        {
            "none": ("digits-none",),
            "cr": ("digits-cr",),
            "bcr": ("digits-bcr",),
            "zcr": ("digits-zcr",),
            "icr": ("digits-icr",),
        },
        ("FD-digits", "class_agreement", "diversity"),
    ),
    "few-images": Experiment(
        {
            "none": ("digits-none",),
            "diffaugment": ("digits-none", DIFFAUGMENT),
            "icr": ("digits-icr",),
            "icr+diffaugment": ("digits-icr", DIFFAUGMENT),
        },
        ("FD-squeezenet", "precision", "recall", "density", "coverage"),
        (
            *("data.max_images=100", "data.size=32", "data.channels=3", "data.flip=true", "model.conditional=false"),
            *("augment.consistency.flip=0.5", "augment.consistency.shift=0.125", "train.steps=2000"),
            *("optim.g.lr=3e-4", "optim.d.lr=3e-4", "optim.schedule=constant"),
            *("train.log_every=50", "train.sample_every=500", "train.checkpoint_every=1000"),
            *("eval.protocol=squeezenet-test", "eval.num_fake=2000"),
        ),
    ),
}


def train(
    experiment: Experiment, runs: Path, jobs: int, overrides: list[str], job: tuple[str, int]
) -> dict[str, object]:
    """One run in a process of its own; returns its CSV row."""
    variant, seed = job
    out = runs / f"{variant}-{seed}"
    preset, *changes = experiment.variants[variant]
    arguments = ["train", preset, f"train.seed={seed}", *changes, *experiment.common]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    if not is_finished(out):
        new = [*arguments, *overrides, "--out", str(out)]
        begun = (out / "config.yaml").exists()
        command = [sys.executable, "-m", "steadygan", *(["train", str(out), "--resume"] if begun else new)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"{variant}, seed {seed}: the run failed, for the reason above")
    score = json.loads((out / "scores.jsonl").read_text().splitlines()[-1])
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    protocol = score["protocol"]
    return {
        "variant": variant,
        "seed": seed,
        **{name: round(score[name], 4) for name in experiment.scores},
        **{name: last[name] for name in ACCURACIES},
        "seconds": round(last["seconds"], 1),
        "images_per_s": round(last["images"] / last["seconds"], 1),
        "steps": last["step"],
        "batch_size": last["images"] // last["step"],
        "threads": threads,
        "jobs": jobs,
        "protocol": "{name}: {num_fake} fakes, {num_real} {split} reals".format(**protocol),
        "reals_sha256": protocol["reals_sha256"][:12],
        "commit": COMMIT,
        "torch": protocol["torch"],
        "command": " ".join(["steadygan", *arguments, *map(without_folders, overrides)]),
    }


def without_folders(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}={Path(value).name}" if "/" in value else override


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


COMMIT = git("rev-parse", "--short", "HEAD")
"""Of the code that runs, read when it starts."""


def summary(experiment: Experiment, rows: list[dict[str, str]]) -> str:
    """A Markdown table: mean ± standard deviation over seeds."""
    names = (*experiment.scores, *ACCURACIES, "seconds")
    lines = [f"| variant | runs | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
    for variant in experiment.variants:
        mine = [row for row in rows if row["variant"] == variant]
        if len(mine) > 1:
            columns = [[float(row[name]) for row in mine] for name in names]
            cells = [f"{mean(c):.{d}f} ± {stdev(c):.{d}f}" for c in columns for d in [3 if max(c) < 2 else 2]]
            lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(variants: list[str], seed: int, runs: Path, path: Path) -> None:
    """Two rows of samples for each variant, of the same latents."""
    generators = [steadygan.load(runs / f"{variant}-{seed}", device="cpu") for variant in variants]
    save_grid(torch.cat([generator.sample(32) for generator in generators]), path, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--variants", nargs="+", help="[default: all]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="[default: results/EXPERIMENT.csv]")
    parser.add_argument("--runs", type=Path, help="keep the run directories here, and take finished ones from here")
    parser.add_argument("--sheet", type=Path, help="where to draw samples of the first seed, as PNG")
    parser.add_argument("overrides", nargs="*", help="key.path=value for every run")
    options = parser.parse_intermixed_args()
    experiment = EXPERIMENTS[options.experiment]
    variants = options.variants or list(experiment.variants)
    if unknown := set(variants) - set(experiment.variants):
        parser.error(f"{options.experiment} has {', '.join(experiment.variants)}, not {', '.join(sorted(unknown))}")
    out = options.out or Path(f"results/{options.experiment}.csv")

    def read() -> list[dict[str, str]]:
        return list(csv.DictReader(out.open(newline=""))) if out.exists() else []

    done = {(row["variant"], int(row["seed"])) for row in read() if row["commit"] == COMMIT}
    todo = [(variant, seed) for seed in options.seeds for variant in variants if (variant, seed) not in done]
    runs = options.runs or Path(tempfile.mkdtemp(prefix=f"steadygan-{options.experiment}-"))
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(partial(train, experiment, runs, options.jobs, options.overrides), todo):
            out.parent.mkdir(parents=True, exist_ok=True)
            fresh = not out.exists()
            with out.open("a", newline="") as file:
                writer = csv.DictWriter(file, experiment.columns, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
            print(*(row[name] for name in ("variant", "seed", *experiment.scores, "seconds")), flush=True)
    if options.sheet is not None:
        draw(variants, options.seeds[0], runs, options.sheet)
    print(summary(experiment, read()))


if __name__ == "__main__":
    main()
