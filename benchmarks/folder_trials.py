"""`steadygan train FOLDER` on several image sets in half an hour, against presets chosen by hand.

    python benchmarks/folder_trials.py --data ../shared/data --weights squeezenet.npz --hours 0.5 --seeds 0 1 2
    python benchmarks/folder_trials.py --data ../shared/data --weights squeezenet.npz --sets sketches --rivals plan

Every rival has the same clock and the same number of threads; the presets follow the clock as the plan does, at the
size that the plan chose (without a row of the plan, at the set's), and without classes where the set has none. Rows go
to results/folder-trials.csv as runs end; existing rows are not repeated, and a run whose directory is in --runs is
resumed. The plan's rows of 0.1 and 0.5 hours, seed 0, have the first FD-tiny, by the features its discriminator reads.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import torch
from PIL import Image

from steadygan.data.source import open_source
from steadygan.evaluation.run import truncation_curve
from steadygan.generators.loading import load
from steadygan.pictures.grid import save_grid
from steadygan.runs.status import is_finished

SETS: dict[str, tuple[str, str, int, int]] = {
    "faces": ("celeba10k.zip", "", 0, 64),
    "hundred-faces": ("celeba10k.zip", "", 100, 64),
    "cifar10": ("cifar10_test.zip", "", 0, 32),
    "imagenette": ("imagenette128.zip", "", 0, 64),
    "portraits": ("cufs_pairs.zip", "/B/", 0, 64),
    "sketches": ("cufs_pairs.zip", "/A/", 0, 64),
    "faces-48": ("celeba10k.zip", "", 5000, 48),
}
"""Name → file, a word that entries must contain, how many images (0: all), side. The last two are not for tuning."""

CLOCK = ["train.steps=100000000", "optim.schedule=linear", "optim.decay_from=50000000", "train.batch_size=32"]
WIDTH = ["model.width=16"]
PLANS: dict[str, list[str]] = {
    "plan": [],
    "plan-biggan": ["model.kind=biggan"],
    "plan-resnet": ["model.kind=resnet"],
    "plan-bcr": ["objective.terms.bcr={real: 1, fake: 1}"],
    "plan-zcr": ["objective.terms.zcr={dis: 0.5, gen: 0.05, sigma: 0.03}"],
    "plan-diffaugment": ["augment.diffaugment.policy=[color,translation,cutout]"],
    "plan-plain": ["augment.diffaugment.policy=[]"],
    "plan-two-d-steps": ["train.phases=[D,D,G]"],
}
"""`steadygan train FOLDER` with overrides."""
RIVALS: dict[str, list[str]] = {
    "dcgan-none": ["cifar10-dcgan-none", *WIDTH],
    "dcgan-icr": ["cifar10-dcgan-icr", *WIDTH],
    "resnet-none": ["cifar10-resnet-none", *WIDTH],
    "resnet-icr": ["cifar10-resnet-icr", *WIDTH],
    "sngan": ["cifar10-sngan", *WIDTH],
    "biggan": ["cifar10-biggan", *WIDTH],
    "biggan-icr": ["cifar10-biggan-icr", *WIDTH],
    "stylegan2-diffaugment": ["cifar10-stylegan2-diffaugment100", "model.width=8"],
}
SCORES = tuple(f"{score}-{features}" for features in ("squeezenet", "tiny") for score in ("FD", "precision", "recall"))
COLUMNS = (
    *("set", "rival", "seed", "hours", "size", "steps", "images", "fakes", *SCORES),
    *("machine", "commit", "torch", "command"),
)


def make_set(which: str, data: Path, folder: Path) -> Path:
    """The images of a set as a zip of square PNGs, with its labels where the file has some."""
    file, word, count, side = SETS[which]
    path = folder / f"{which}.zip"
    if path.exists():
        return path
    partial = path.with_suffix(".part")
    with zipfile.ZipFile(data / file) as source, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as target:
        suffixes = (".webp", ".jpg", ".jpeg", ".png", ".JPEG")
        entries = sorted(n for n in source.namelist() if n.endswith(suffixes) and word in n)
        for entry in entries[: count or None]:
            image = Image.open(io.BytesIO(source.read(entry))).convert("RGB")
            edge = min(image.size)
            left, top = (image.width - edge) // 2, (image.height - edge) // 2
            box = (left, top, left + edge, top + edge)
            buffer = io.BytesIO()
            image.resize((side, side), Image.Resampling.LANCZOS, box).save(buffer, "PNG")
            name = entry.replace("/", "-") if word else entry  # the parts of a translation are one set here
            target.writestr(str(Path(name).with_suffix(".png")), buffer.getvalue())
        if "dataset.json" in source.namelist() and not count:
            labels = json.loads(source.read("dataset.json"))["labels"]
            renamed = [[str(Path(entry).with_suffix(".png")), label] for entry, label in labels]
            target.writestr("dataset.json", json.dumps({"labels": renamed}))
    partial.rename(path)
    return path


def steadygan(*arguments: str, threads: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "steadygan", *arguments]
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"steadygan {' '.join(arguments)}: failed, for the reason above")


def trial(
    name: str, rival: str, seed: int, images: Path, chosen: str, options: argparse.Namespace
) -> dict[str, object]:
    """One run and its scores; returns its row. chosen: the plan's size."""
    run: Path = options.runs / f"{name}-{rival}-{options.hours:g}h-{seed}"
    common = [f"train.seed={seed}", f"train.threads={options.threads}", *options.override]
    if rival in PLANS:
        arguments = ["train", str(images), "--hours", str(options.hours), *PLANS[rival], *common]
    else:
        preset, *changes = RIVALS[rival]
        if open_source(str(images), size=32).labels is None:
            changes.append("model.conditional=false")
        size = f"data.size={chosen}"
        hours = f"train.hours={options.hours}"
        arguments = ["train", preset, f"data.path={images}", size, hours, *CLOCK, *changes, *common]
    if not run.exists():
        steadygan(*arguments, "--out", str(run), threads=options.threads)
    elif not is_finished(run):
        steadygan("train", str(run), "--resume", threads=options.threads)
    torch.set_num_threads(options.threads)
    scores: dict[str, float] = {}
    for protocol in ("squeezenet", "tiny"):
        (found,) = truncation_curve(run, None, protocol=protocol, num_fake=options.num_fake)
        scores |= {key: found[key] for key in found if key.startswith("FD-")}
        scores |= {f"{kind}-{protocol}": found[kind] for kind in ("precision", "recall")}
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    text = (run / "config.yaml").read_text()
    size = next(line.split()[1] for line in text.splitlines() if line.startswith("  size:"))
    return {
        "set": name, "rival": rival, "seed": seed, "hours": options.hours, "size": size,
        "steps": last["step"], "images": last["images"], "fakes": options.num_fake,
        **{key: f"{scores[key]:.5g}" for key in SCORES},
        "machine": options.machine, "commit": COMMIT, "torch": torch.__version__,
        "command": " ".join(["steadygan", *arguments]).replace(str(images), images.name),
    }  # fmt: skip


def draw(options: argparse.Namespace) -> None:
    """Twenty samples of seed 0 of each set's first seed in two rows, of the plan's best checkpoints."""
    runs = [options.runs / f"{name}-plan-{options.hours:g}h-{options.seeds[0]}" for name in options.sets]
    samples = torch.cat([load(run).sample(20, seed=0) for run in runs])
    save_grid(samples, options.sheet, columns=10)


COMMIT = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rivals", nargs="+", choices=[*PLANS, *RIVALS], default=["plan", *RIVALS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-fake", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's")
    parser.add_argument("--runs", type=Path, default=Path("runs/folder-trials"))
    parser.add_argument("--out", type=Path, default=Path("results/folder-trials.csv"))
    parser.add_argument("--sheet", type=Path, help="a PNG to draw the plan's samples in, if all have one size")
    parser.add_argument("--override", action="append", default=[], help="key.path=value for every run")
    parser.add_argument("--machine", default="2-core CPU")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    os.environ["STEADYGAN_SQUEEZENET_WEIGHTS"] = str(options.weights)
    for seed in options.seeds:
        for name in options.sets:
            images = make_set(name, options.data, options.runs)
            for rival in options.rivals:
                rows = list(csv.DictReader(options.out.open(newline=""))) if options.out.exists() else []
                key = (name, rival, str(seed), options.hours)
                if any((r["set"], r["rival"], r["seed"], float(r["hours"])) == key for r in rows):
                    continue
                plans = [r["size"] for r in rows if (r["set"], r["rival"], float(r["hours"])) == (name, "plan", key[3])]
                row = trial(name, rival, seed, images, plans[0] if plans else str(SETS[name][3]), options)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                with options.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    if not rows:
                        writer.writeheader()
                    writer.writerow(row)
                print(time.strftime("%H:%M"), {key: row[key] for key in COLUMNS[:14]}, flush=True)
    if options.sheet is not None:
        draw(options)


if __name__ == "__main__":
    main()
