"""Consistency regularisation on the embedded digits: every variant, several seeds, one CSV row a run.

    python benchmarks/digits.py --seeds 0 1 2 --jobs 2 --out results/digits.csv

Each run is `steadygan train digits-VARIANT train.seed=SEED`, with one thread per job. Rows are appended as runs end; a
variant and seed that the file already has at this commit is not run again. Prints mean ± standard deviation at the end.
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
from pathlib import Path
from statistics import mean, stdev

PRESETS = {"none": "digits-none", "cr": "digits-cr", "bcr": "digits-bcr", "zcr": "digits-zcr", "icr": "digits"}
SCORES = ("FD-digits", "class_agreement", "diversity")
COLUMNS = (
    *("variant", "seed", *SCORES, "D_accuracy_train", "D_accuracy_heldout", "seconds", "images_per_s"),
    *("steps", "batch_size", "threads", "jobs", "protocol", "reals_sha256", "commit", "torch", "command"),
)


def train(variant: str, seed: int, runs: Path, jobs: int, overrides: list[str]) -> dict[str, object]:
    """One run in a process of its own; returns its CSV row."""
    out = runs / f"{variant}-{seed}"
    arguments = ["train", PRESETS[variant], f"train.seed={seed}", *overrides]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "steadygan", *arguments, "--out", str(out)]
    if not (out / "scores.jsonl").exists():
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    score = json.loads((out / "scores.jsonl").read_text().splitlines()[-1])
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    protocol = score["protocol"]
    return {
        "variant": variant,
        "seed": seed,
        **{name: round(score[name], 4) for name in SCORES},
        **{name: last[name] for name in ("D_accuracy_train", "D_accuracy_heldout")},
        "seconds": round(last["seconds"], 1),
        "images_per_s": round(last["images"] / last["seconds"], 1),
        "steps": last["step"],
        "batch_size": last["images"] // last["step"],
        "threads": threads,
        "jobs": jobs,
        "protocol": "{name}: {num_fake} fakes, {num_real} {split} reals".format(**protocol),
        "reals_sha256": protocol["reals_sha256"][:12],
        "commit": git("rev-parse", "--short", "HEAD"),
        "torch": protocol["torch"],
        "command": " ".join(["steadygan", *arguments]),
    }


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def summary(rows: list[dict[str, str]]) -> str:
    """A Markdown table: mean ± standard deviation over seeds."""
    lines = [f"| variant | {' | '.join(SCORES)} | seconds |", "|---|" + "---:|" * (len(SCORES) + 1)]
    for variant in PRESETS:
        mine = [row for row in rows if row["variant"] == variant]
        if len(mine) > 1:
            columns = [[float(row[name]) for row in mine] for name in (*SCORES, "seconds")]
            digits = (2, 3, 3, 0)
            cells = [f"{mean(c):.{d}f} ± {stdev(c):.{d}f}" for c, d in zip(columns, digits, strict=True)]
            lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/digits.csv"))
    parser.add_argument("--runs", type=Path, help="keep the run directories here, and take finished ones from here")
    parser.add_argument("overrides", nargs="*", help="key.path=value for every run")
    options = parser.parse_args()

    def read() -> list[dict[str, str]]:
        return list(csv.DictReader(options.out.open(newline=""))) if options.out.exists() else []

    commit = git("rev-parse", "--short", "HEAD")
    done = {(row["variant"], int(row["seed"])) for row in read() if row["commit"] == commit}
    todo = [(v, s) for s in options.seeds for v in options.variants if (v, s) not in done]
    runs = options.runs or Path(tempfile.mkdtemp(prefix="steadygan-digits-"))
    with ThreadPoolExecutor(options.jobs) as pool:
        for row in pool.map(lambda job: train(*job, runs, options.jobs, options.overrides), todo):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            fresh = not options.out.exists()
            with options.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
            print(*(row[name] for name in ("variant", "seed", *SCORES, "seconds")), flush=True)
    print(summary(read()))


if __name__ == "__main__":
    main()
