"""Measures which augmentations leak into generated faces, which ICR's Figure 5 shows by eye.

    python benchmarks/leak.py --celeba celeba10k.zip --jobs 2
    python benchmarks/leak.py --celeba celeba10k.zip --faces 1000 --arms cr-cutout-0.5 bcr-cutout-0.5
    python benchmarks/leak.py --celeba celeba10k.zip --out /tmp/rehearsal.csv --seeds 0 train.steps=4

CR whose augmentation has a cutout of growing size, bCR with the same (Zhao et al., AAAI 2021, Fig. 5); DiffAugment,
ICR, and DiffAugment of the reals alone, its ablation; CR of weight 0, whose images can show none: on 1,000 and on 100
faces at 32 pixels, three seeds. A row for each augmentation of each run: the leak meter's share of 2,000 generated
images that show it and its interval of 95 %, what the reader finds in held-out faces without and with it, the share of
copies, and FD-tiny. Rows go to the CSV as runs end; a run that the file has with the same command is not repeated, and
one whose directory is in --runs is resumed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from steadygan.runs.status import is_finished

CUTOUTS = (0.125, 0.25, 0.5, 0.75)
POLICY = "augment.diffaugment.policy=[translation,cutout]"
ICR = ("objective.terms.bcr={real: 10, fake: 10}", "objective.terms.zcr={dis: 5, gen: 0.5, sigma: 0.03}")
CUT = "augment.consistency.cutout=0.5"


def arms() -> dict[str, tuple[str, ...]]:
    """Overrides by name."""
    found: dict[str, tuple[str, ...]] = {}
    for side in CUTOUTS:
        cutout = f"augment.consistency.cutout={side}"
        found[f"cr-cutout-{side}"] = ("objective.terms.cr.weight=10", cutout)
        found[f"bcr-cutout-{side}"] = ("objective.terms.bcr={real: 10, fake: 10}", cutout)
    found["diffaugment"] = (POLICY,)
    found["icr"] = (*ICR, CUT)
    found["none"] = ("objective.terms.cr.weight=0", CUT)  # the meter's false alarms
    found["reals-only"] = (POLICY, "augment.diffaugment.placement=reals-only")
    return found


ARMS = arms()
FACES = (1000, 100)
SEEDS = (0, 1, 2)
COMMON = (
    *("data.size=32", "data.heldout=0.2", "model.width=32", "train.batch_size=32", "train.steps=10000"),
    *("train.phases=[D,G]", "train.log_every=100", "train.sample_every=5000", "train.checkpoint_every=5000"),
    *("train.ema.start=0", "train.ema.half_life=500", "train.collapse=continue", "augment.consistency.flip=0"),
    *("train.g_batch_size=null", "model.conditional=false", "data.flip=true"),
)
PRESET = "cifar10-sngan"
COLUMNS = (
    *("arm", "faces", "seed", "augmentation", "leak", "leak_low", "leak_high", "false", "true"),
    *("copies", "copies_low", "copies_high", "FD-tiny", "steps", "seconds", "commit", "torch", "command"),
)


def measure(run: Path, num_fake: int) -> list[dict[str, Any]]:
    """The leak meter's values for a run's last checkpoint, a row for each augmentation."""
    from steadygan.evaluation.health import Health

    found = Health.of(run, num_fake=num_fake)
    copies = found.copies.share
    columns = {"copies": copies.value, "copies_low": copies.low, "copies_high": copies.high}
    rows = []
    for name, leak in found.leaks.items():
        share = ("", "", "") if leak.leak is None else tuple(round(value, 4) for value in leak.leak)
        row = dict(zip(("leak", "leak_low", "leak_high"), share, strict=True))
        reader = {"false": round(leak.false.share, 4), "true": round(leak.true.share, 4)}
        rows.append({"augmentation": name, **row, **reader, **{k: round(v, 4) for k, v in columns.items()}})
    return rows


def settings(options: argparse.Namespace, what: tuple[str, int, int]) -> list[str]:
    """The overrides of a run."""
    arm, faces, seed = what
    return [*COMMON, *ARMS[arm], f"data.max_images={faces}", f"train.seed={seed}", *options.overrides]


def command_of(options: argparse.Namespace, what: tuple[str, int, int]) -> str:
    """The command of a run, by which its rows are known."""
    return " ".join(["steadygan train", PRESET, f"data.path={options.celeba.name}", *settings(options, what)])


def job(options: argparse.Namespace, commit: str, what: tuple[str, int, int]) -> list[dict[str, Any]]:
    """One run in a process of its own, then its rows."""
    arm, faces, seed = what
    changes, command_line = settings(options, what), command_of(options, what)
    run = options.runs / f"{arm}-{faces}-{seed}-{sha256(command_line.encode()).hexdigest()[:6]}"
    fixed = [sys.executable, "-m", "steadygan", "train"]
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    if not is_finished(run):
        resumed = any((run / "checkpoints").glob("step-*"))
        new = [PRESET, f"data.path={options.celeba.resolve()}", *changes, "--out", str(run)]
        command = [*fixed, str(run), "--resume"] if resumed else [*fixed, *new]
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(f"{run.name}: the run failed, for the reason above")
    score = json.loads((run / "scores.jsonl").read_text().splitlines()[-1])
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    about = {"arm": arm, "faces": faces, "seed": seed}
    tail = {"FD-tiny": round(score["FD-tiny"], 4), "steps": last["step"], "seconds": round(last["seconds"])}
    tail |= {"commit": commit, "torch": score["protocol"]["torch"]}
    tail["command"] = command_line
    return [about | row | tail for row in measure(run, options.num_fake)]


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {row["command"] for row in csv.DictReader(file)}
    for what in ((arm, faces, seed) for seed in options.seeds for faces in options.faces for arm in options.arms):
        if command_of(options, what) not in done:
            yield what


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="key.path=value, of all runs")
    parser.add_argument("--celeba", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--faces", nargs="+", type=int, default=FACES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--num-fake", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs/leak"))
    parser.add_argument("--out", type=Path, default=Path("results/leak.csv"))
    options = parser.parse_intermixed_args(arguments)
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with ThreadPoolExecutor(options.jobs) as pool:
        for rows in pool.map(partial(job, options, commit), list(wanted(options))):
            fresh = not options.out.exists()
            with options.out.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerows(rows)
            for row in rows:
                print(*(row[key] for key in COLUMNS[:9]), flush=True)


if __name__ == "__main__":
    main()
