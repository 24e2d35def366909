"""Does the discriminator look at the images? Short trainings on imbalanced folders, one factor changed at a time.

    python benchmarks/looking.py cifar-32 faces-64 --arms dcgan resnet --seeds 0 1 2 --seconds 180 \
        --data ../shared/data --runs runs/looking

For each set and arm it takes as many steps as fit into `--seconds` of CPU time, asks D about reals, fakes, uniform
noise and wrong labels, and takes FD-squeezenet. Rows go to results/looking.csv as they end; existing rows are not
made again. Curves and sheets go to `--runs`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import time
import zipfile
from collections import deque
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from steadygan import config as configuration
from steadygan.build import build_state, resolve
from steadygan.data.images import ImageSet
from steadygan.generators.sampling import sample, standing_statistics
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import Protocol
from steadygan.objective.adversarial import LOSSES
from steadygan.pictures.grid import save_grid
from steadygan.pictures.pixels import to_float
from steadygan.tasks.choice import build_images, task_of
from steadygan.tasks.synthesis import SynthesisMonitor as Sampling
from steadygan.training.state import TrainState
from steadygan.training.step import train_step

CPU = torch.device("cpu")
PROTOCOL = Protocol("looking", "squeezenet", num_fake=500, scores=("fd",))
"""500 fakes with the data's label frequencies against all training images."""

# Each set: its file, its side, and how many images each class keeps.
SETS: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "cifar-32": ("cifar10_train.zip", 32, (200, 600, 2000)),
    "imagenette-48": ("imagenette128.zip", 48, (20, 60, 200)),
    "imagenette-64": ("imagenette128.zip", 64, (20, 60, 200)),
    "faces-32": ("celeba10k.zip", 32, (700, 2300)),
    "faces-64": ("celeba10k.zip", 64, (700, 2300)),
}

COMMON = [
    *("data.channels=3", "data.flip=true", "data.heldout=0.05", "model.conditional=true", "model.latent=64"),
    *("optim.g.beta1=0", "optim.g.beta2=0.9", "optim.d.beta1=0", "optim.d.beta2=0.9", "optim.g.lr=3e-4"),
    *("optim.d.lr=3e-4", "train.batch_size=32", "train.steps=1000000", "train.ema.start=20", "train.ema.half_life=50"),
]
DATA = ["model.fake_labels=data"]
ICR = ["objective.terms.bcr.real=10", "objective.terms.bcr.fake=10", "objective.terms.zcr.dis=5"]
FAST = ["optim.g.lr=1e-3", "optim.d.lr=1e-3", "train.batch_size=16"]
GAIN = ["model.critic.sn_gain=2"]
AUGMENT = ["augment.diffaugment.policy=[color,translation,cutout]"]
TWO = ["train.phases=[D,D,G]", "optim.g.lr=2e-4", "optim.d.lr=4e-4"]
ONE = ["optim.g.lr=4e-4", "optim.d.lr=4e-4"]
FEATURES = ["model.features=tiny"]
DCGAN = ["model.kind=dcgan", "model.width=16"]
WIDE = ["model.kind=dcgan", "model.width=64"]
RESNET = ["model.kind=resnet", "model.width=16"]
BIGGAN = ["model.kind=biggan", "model.width=16", "model.generator.init=normal", "model.critic.init=normal"]
ARMS: dict[str, list[str]] = {
    "dcgan16-icr-uniform": DCGAN + ICR,
    "dcgan16-icr": DCGAN + ICR + DATA,
    "dcgan16-uniform": DCGAN,
    "dcgan16-gain-uniform": DCGAN + GAIN,
    "dcgan16-gain-icr-uniform": DCGAN + GAIN + ICR,
    "dcgan16": DCGAN + DATA,
    "dcgan16-diffaugment": DCGAN + DATA + AUGMENT,
    "dcgan16-two": DCGAN + DATA + AUGMENT + TWO,
    "dcgan16-float32": [*DCGAN, *DATA, "train.precision=float32"],
    "dcgan16-unnormalised": [*DCGAN, *DATA, "model.critic.sn_critic=false", "objective.terms.r1.gamma=1"],
    "dcgan16-gain": DCGAN + DATA + GAIN,
    "dcgan16-gain-icr": DCGAN + DATA + GAIN + ICR,
    "dcgan16-fast-icr-uniform": DCGAN + ICR + FAST,
    "dcgan16-fast": DCGAN + DATA + FAST,
    "dcgan16-fast-gain": DCGAN + DATA + FAST + GAIN,
    "dcgan16-gain-diffaugment": DCGAN + DATA + GAIN + AUGMENT,
    "dcgan16-gain-two": DCGAN + DATA + GAIN + AUGMENT + TWO,
    "dcgan32-gain-two": [*DCGAN, "model.width=32", *DATA, *GAIN, *AUGMENT, *TWO],
    "dcgan64": WIDE + DATA,
    "dcgan64-gain": WIDE + DATA + GAIN,
    "dcgan64-icr": WIDE + DATA + ICR,
    "dcgan64-two": WIDE + DATA + AUGMENT + TWO,
    "resnet16": RESNET + DATA,
    "resnet16-icr": RESNET + DATA + ICR,
    "resnet16-uniform": RESNET,
    "resnet16-two": RESNET + DATA + AUGMENT + TWO,
    "resnet16-gain-two": RESNET + DATA + GAIN + AUGMENT + TWO,
    "resnet32-two": [*RESNET, "model.width=32", *DATA, *AUGMENT, *TWO],
    "biggan16-two": BIGGAN + DATA + AUGMENT + TWO,
    "resnet16-one": RESNET + DATA + ONE,
    "resnet16-gain-one": RESNET + DATA + GAIN + ONE,
    "resnet16-gain-two-bare": RESNET + DATA + GAIN + TWO,
    "dcgan16-gain-two-bare": DCGAN + DATA + GAIN + TWO,
    "resnet16-features": RESNET + DATA + ONE + FEATURES,
    "resnet16-gain-features": RESNET + DATA + GAIN + ONE + FEATURES,
    "resnet16-gain-features-augment": RESNET + DATA + GAIN + ONE + FEATURES + AUGMENT,
    "dcgan16-features": DCGAN + DATA + ONE + FEATURES,
    "dcgan32-features": [*DCGAN, "model.width=32", *DATA, *ONE, *FEATURES],
}
ANSWERS = (
    *("D_auc_fake", "D_auc_noise", "D_auc_shuffled", "D_spread_within", "D_spread_between"),
    *("D_accuracy_train", "D_accuracy_heldout", "D_accuracy_fake", "G_diversity"),
)
"""See `steadygan.training.answers` and `docs/run-directory.md`."""
COLUMNS = (
    *("set", "arm", "seed", "steps", "images", "cpu_seconds", "images_per_s", "D_loss", "G_loss"),
    *ANSWERS,
    *("FD-squeezenet", "machine", "commit", "torch", "command"),
)


def make_set(name: str, data: Path, folder: Path) -> Path:
    """A zip of class folders, imbalanced as `SETS` says; the sizes recur over the classes."""
    file, side, sizes = SETS[name]
    path = folder / f"{name}.zip"
    if path.exists():
        return path
    with zipfile.ZipFile(data / file) as source:
        images = sorted(n for n in source.namelist() if n.endswith((".webp", ".jpg", ".jpeg", ".png", ".JPEG")))

        def decode(entry: str) -> Image.Image:
            image = Image.open(io.BytesIO(source.read(entry))).convert("RGB")
            edge = min(image.size)
            left, top = (image.width - edge) // 2, (image.height - edge) // 2
            return image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.LANCZOS)

        if file.startswith("cifar"):
            labels = dict(json.loads(source.read("dataset.json"))["labels"])
            classes = [[n for n in images if labels[n] == c] for c in (0, 7, 8)]
        elif file.startswith("celeba"):
            images = images[:4000]
            light = np.array([np.asarray(decode(n).resize((8, 8))).mean() for n in images])
            order = np.argsort(light)
            classes = [[images[i] for i in sorted(order[:2000])], [images[i] for i in sorted(order[-2400:])]]
        else:
            folders = sorted({n.rsplit("/", 1)[0] for n in images})
            classes = [[n for n in images if n.startswith(f"{c}/")] for c in folders]
        partial = path.with_suffix(".part")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as target:
            for number, entries in enumerate(classes):
                for i, entry in enumerate(entries[: sizes[number % len(sizes)]]):
                    buffer = io.BytesIO()
                    decode(entry).save(buffer, "PNG")
                    target.writestr(f"class{number}/{i:05d}.png", buffer.getvalue())
    partial.rename(path)
    return path


@torch.no_grad()
def passed_on(critic: nn.Module, x: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """For each convolution or block of D: the root mean square of its output, and of what differs between images."""
    found = []

    def look(module: nn.Module, given: object, h: Tensor) -> None:
        found.append((float(h.square().mean().sqrt()), float((h - h.mean(0)).square().mean().sqrt())))

    hooks = [layer.register_forward_hook(look) for name in ("convs", "blocks") for layer in getattr(critic, name, ())]
    critic(x, y)
    for hook in hooks:
        hook.remove()
    return found


def frechet(state: TrainState, reals: ImageSet, weights: Path) -> float:
    """FD-squeezenet of the averaged generator, by `PROTOCOL`."""
    assert reals.labels is not None
    generator = torch.Generator().manual_seed(2)
    drawn = reals.labels[torch.randint(len(reals.labels), (PROTOCOL.num_fake,), generator=generator)]

    def fakes(num: int, asked: Tensor | None, seed: int, part: slice) -> Tensor:
        return sample(state.ema.net, state.objective.prior, num, labels=drawn, seed=seed, part=torch.arange(num)[part])

    files = {"squeezenet": weights}
    classes = len(reals.class_names)
    record = score(
        fakes, reals, None, PROTOCOL, classes=classes, fingerprint=reals.fingerprint, extractor_weights=files
    )
    return float(record["FD-squeezenet"])


def run(
    path: Path, arm: str, seed: int, seconds: float, extra: list[str], sheet: Path, weights: Path, scored: bool
) -> dict[str, object]:
    """One training of `seconds` CPU seconds; returns its row."""
    size = SETS[path.stem][1]
    overrides = [*COMMON, *ARMS[arm], f"data.size={size}", f"train.seed={seed}", *extra]
    config = resolve(configuration.load("digits-none", [f"data.path={path}", "data.cache=false", *overrides]))
    images = build_images(config, CPU)
    state = build_state(task_of(config), images.train, CPU)
    torch.manual_seed(seed)
    task = Sampling(images.train, images.heldout, {}, seed)
    boundary = LOSSES[config.objective.loss].boundary
    recent: deque[dict[str, float]] = deque(maxlen=50)
    began, taken, line = time.process_time(), 0.0, 10.0
    with sheet.with_suffix(".jsonl").open("w") as lines:
        while (taken := time.process_time() - began) < seconds:
            recent.append({name: float(value) for name, value in train_step(state).items()})
            if taken > line:  # a line every ten seconds
                line += 10
                means = {name: float(np.mean([row[name] for row in recent])) for name in recent[-1]}
                look = task.probe(state, boundary)
                lines.write(json.dumps({"step": state.step, "seconds": round(taken, 1), **means, **look}) + "\n")
    last = task.probe(state, boundary)
    few = torch.arange(min(128, len(images.train)))
    assert images.train.labels is not None
    layers = passed_on(state.nets["D"], to_float(images.train.take(few)), images.train.labels[few])
    with sheet.with_suffix(".jsonl").open("a") as lines:
        lines.write(json.dumps({"step": state.step, "layers": layers}) + "\n")
    standing_statistics(state.ema.net, state.objective.prior)
    distance = frechet(state, images.train, weights) if scored else float("nan")
    classes = len(images.train.class_names)
    save_grid(sample(state.ema.net, state.objective.prior, 80, labels=torch.arange(80) % classes, seed=5), sheet, 10)
    return {
        "set": path.stem, "arm": arm, "seed": seed, "steps": state.step, "images": state.images,
        "cpu_seconds": round(taken, 1), "images_per_s": round(state.images / taken, 1),
        "D_loss": np.mean([row["D/adversarial"] for row in recent]),
        "G_loss": np.mean([row["G/adversarial"] for row in recent]),
        **{name: last[name] for name in ANSWERS}, "FD-squeezenet": distance,
        "machine": "two-core CPU", "commit": COMMIT, "torch": torch.__version__, "command": " ".join(overrides),
    }  # fmt: skip


COMMIT = subprocess.run(
    ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/looking"), help="folder of the sets and the sheets")
    parser.add_argument("--out", type=Path, default=Path("results/looking.csv"))
    parser.add_argument("--override", action="append", default=[], help="key.path=value for every run")
    parser.add_argument("--unscored", action="store_true", help="without FD-squeezenet")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.sets:
            path = make_set(name, options.data, options.runs)
            for arm in options.arms:
                rows = list(csv.DictReader(options.out.open(newline=""))) if options.out.exists() else []
                if any((r["set"], r["arm"], r["seed"]) == (name, arm, str(seed)) for r in rows):
                    continue
                sheet = options.runs / f"{name}-{arm}-{seed}.png"
                row = run(
                    path, arm, seed, options.seconds, options.override, sheet,
                    options.data / "squeezenet_v1.0_imagenet.npz", not options.unscored,
                )  # fmt: skip
                row = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
                with options.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    if not rows:
                        writer.writeheader()
                    writer.writerow(row)
                print({k: row[k] for k in COLUMNS[:-4]}, flush=True)


if __name__ == "__main__":
    main()
