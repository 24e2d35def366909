"""Tests the papers' claims: a small search of equal size for every variant, then three seeds of each at its best.

    python benchmarks/claims/run.py digits
    python benchmarks/claims/run.py icr-cifar10-dcgan --data FOLDER --weights squeezenet.npz --threads 2
    python benchmarks/claims/run.py --list

Rows go to results/claims/NAME.csv as runs end; existing rows are not repeated, and a run whose directory is in
--runs is resumed. Where a claim scores its runs as they train, all their scores go to results/claims/NAME-curve.csv.
Overrides after the name change every run (`train.steps` and `train.seed` are the claim's own).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from claims import CLAIMS, Claim

from steadygan.runs.status import is_finished

COLUMNS = ("part", "variant", "setting", "seed")
FACTS = ("steps", "cpu_seconds", "protocol", "commit", "torch", "command")
SEARCH_SEED = 0


class Bench:
    """Makes the runs of one claim, or finds their rows."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.claim, self.options = name, CLAIMS[name], options
        self.out: Path = options.out or Path("results/claims") / f"{name}.csv"
        self.columns = (*COLUMNS, *self.claim.scores, *FACTS)

    def row(self, part: str, variant: str, setting: str, seed: int, steps: int) -> dict[str, str]:
        """The row of a run; trains the run if there is none."""
        key = (part, variant, setting, str(seed))
        rows = list(csv.DictReader(self.out.open(newline=""))) if self.out.exists() else []
        for found in rows:
            if tuple(found[column] for column in COLUMNS) == key:
                return found
        made = dict(zip(COLUMNS, key, strict=True)) | self.run(variant, setting, seed, steps)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if not rows:
                writer.writeheader()
            writer.writerow(made)
        print(time.strftime("%H:%M"), *(made[column] for column in self.columns[:-4]), flush=True)
        return made

    def run(self, variant: str, setting: str, seed: int, steps: int) -> dict[str, str]:
        """One training in a process of its own, which resumes where an earlier one was ended."""
        claim, rival = self.claim, self.claim.variants[variant]
        folder: Path = self.options.runs / self.name / f"{variant}-{setting}-{steps}-{seed}".replace(" ", "-")
        mine = [f"train.steps={steps}", f"train.seed={seed}", f"train.threads={self.options.threads}"]
        if rival.preset.startswith("digits"):
            mine.append(f"optim.decay_from={steps // 2}")
        overrides = [*claim.common, *mine, *rival.changes, *rival.settings[setting], *self.options.override]
        arguments = ["train", rival.preset, *overrides]
        places = [f"data.path={self.options.data / claim.data}"] if claim.data else []
        if claim.reals:
            places.append(f"eval.reals={self.options.data / claim.reals}")
        before, resumed = os.times(), folder.exists()
        if not is_finished(folder):
            fresh = [*arguments, *places, "--out", str(folder)]
            self.call(["train", str(folder), "--resume"] if (folder / "config.yaml").exists() else fresh)
        after = os.times()
        lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
        if len(lines) > 1:
            self.curve({"variant": variant, "setting": setting, "seed": seed, "of": steps}, lines)
        scores = lines[-1]
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        protocol = scores["protocol"]
        took = after.children_user + after.children_system - before.children_user - before.children_system
        return {
            **{name: f"{scores.get(name, last.get(name)):.5g}" for name in claim.scores},
            "steps": str(last["step"]),
            "cpu_seconds": "" if resumed else f"{took:.0f}",  # of a whole run only
            "protocol": f"{protocol['name']}: {protocol['num_fake']} fakes, {protocol['num_real']} reals",
            "commit": COMMIT,
            "torch": torch.__version__,
            "command": " ".join(["steadygan", *arguments]),
        }

    def curve(self, run: dict[str, str | int], lines: list[dict[str, Any]]) -> None:
        """Adds the scores of a run at every step that has some."""
        columns = (*run, "step", *self.claim.scores)
        path = self.out.with_stem(f"{self.name}-curve")
        fresh = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            if fresh:
                writer.writeheader()
            for line in lines:
                rounded = {name: f"{line[name]:.5g}" for name in self.claim.scores if name in line}
                writer.writerow({**run, "step": line["step"], **rounded})

    def call(self, arguments: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.options.threads)}
        if self.options.weights:
            environment["STEADYGAN_SQUEEZENET_WEIGHTS"] = str(self.options.weights)
        if subprocess.run(
            [sys.executable, "-m", "steadygan", *arguments], env=environment, stdout=subprocess.DEVNULL
        ).returncode:
            raise SystemExit(f"steadygan {' '.join(arguments)}: failed, for the reason above")

    def all(self) -> None:
        """The search and the final runs; returns the results."""
        claim = self.claim
        print(f"{self.name}: {claim.source}\nexpected: {claim.expected}\nrefuted if: {claim.refuted}", flush=True)
        search, final = claim.steps
        settings = {}
        for variant, rival in claim.variants.items():
            found = dict.fromkeys(rival.settings, 0.0)
            if search and len(found) > 1:
                found = {s: float(self.row("search", variant, s, SEARCH_SEED, search)[claim.scores[0]]) for s in found}
            settings[variant] = min(found, key=lambda setting: found[setting])
        rows = [
            self.row("final", variant, setting, seed, final)
            for seed in claim.seeds
            for variant, setting in settings.items()
        ]
        for line in summary(claim, rows):
            print(line)


def summary(claim: Claim, rows: list[dict[str, str]]) -> list[str]:
    """A Markdown table: mean ± standard deviation over the seeds."""
    lines = [f"| variant | setting | {' | '.join(claim.scores)} |", "|---|---|" + "---:|" * len(claim.scores)]
    for variant in claim.variants:
        mine = [row for row in rows if row["variant"] == variant]
        cells = []
        for name in claim.scores:
            values = [float(row[name]) for row in mine]
            cells.append(f"{mean(values):.4g} ± {stdev(values):.2g}" if len(values) > 1 else f"{values[0]:.4g}")
        lines.append(f"| {variant} | {mine[0]['setting']} | {' | '.join(cells)} |")
    return lines


COMMIT = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=CLAIMS)
    parser.add_argument("override", nargs="*", help="key.path=value for every run")
    parser.add_argument("--list", action="store_true", help="the claims, what is expected, and the number of runs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, help="SqueezeNet's, where they are not in the cache folder")
    parser.add_argument("--runs", type=Path, default=Path("runs/claims"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.list or options.name is None:
        for name, claim in CLAIMS.items():
            tries = sum(len(v.settings) for v in claim.variants.values()) if claim.steps[0] else 0
            print(f"{name}: {claim.source}\n  expected: {claim.expected}\n  refuted if: {claim.refuted}")
            finals = len(claim.variants) * len(claim.seeds)
            print(f"  {tries} runs of {claim.steps[0]} steps, {finals} of {claim.steps[1]}")
        return
    Bench(options.name, options).all()


if __name__ == "__main__":
    main()
