"""Trains the families, and SN-DCGAN with regularisers, briefly on real images and shows them on contact sheets.

    python benchmarks/gallery.py --celeba celeba10k.zip --cifar10 cifar10_train.zip --imagenette imagenette128.zip

A finished run in `--runs` is not trained again, a stopped run is resumed. Writes docs/images/families.png,
regularisers.png, methods.png and r3gan.png (generated images only, unselected: the first latents of seed 0) and the
rows of results/cpu-real-images.csv; `--only methods` writes one of them.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

import steadygan
from steadygan.pictures.grid import grid
from steadygan.runs.status import is_finished

ROOT = Path(__file__).resolve().parents[1]
EVERYWHERE = (
    "train.sample_every=100 train.checkpoint_every=500 train.log_every=25 train.ema.start=100 train.ema.half_life=50"
)


@dataclass(frozen=True)
class Entry:
    """One run: a caption, a preset, the data set it is trained on here, and what is set differently."""

    name: str
    caption: str
    preset: str
    data: str
    overrides: str

    def command(self, path: Path, out: Path) -> list[str]:
        settings = shlex.split(f"{EVERYWHERE} {self.overrides}")
        return ["train", self.preset, f"data.path={path}", *settings, "--out", str(out)]


FAMILIES = (
    Entry(
        "resnet",
        "SNGAN-ResNet + ICR, CIFAR-10",
        "cifar10-resnet-icr",
        "cifar10",
        "data.max_images=20000 model.width=16 train.batch_size=16 train.phases=[D,D,G] train.steps=500 "
        "optim.g.lr=4e-4 optim.d.lr=4e-4",
    ),
    Entry(
        "sagan",
        "SAGAN, Imagenette 64 px, by class",
        "imagenet128-sagan",
        "imagenette",
        "data.size=64 data.flip=true model.width=16 train.batch_size=16 train.steps=2000 optim.g.lr=2e-4",
    ),
    Entry(
        "biggan",
        "BigGAN + ICR, CIFAR-10, by class",
        "cifar10-biggan-icr",
        "cifar10",
        "data.max_images=20000 model.width=16 train.batch_size=16 train.steps=900 optim.g.lr=4e-4 optim.d.lr=4e-4",
    ),
    Entry(
        "logan",
        "SNGAN + LOGAN (natural gradient), CIFAR-10",
        "cifar10-logan",
        "cifar10",
        "data.max_images=20000 model.width=16 train.batch_size=16 train.phases=[D,D,G] train.steps=1200 "
        "optim.g.lr=4e-4 optim.d.lr=4e-4",
    ),
    Entry(
        "biggan-deep",
        "BigGAN-deep + ortho, CelebA 128 px",
        "imagenet128-biggan-deep",
        "celeba",
        "data.flip=true model.conditional=false model.width=16 train.batch_size=8 train.accumulate=1 "
        "train.phases=[D,G] train.steps=1500 optim.g.lr=2e-4 optim.d.lr=4e-4",
    ),
    Entry(
        "unet",
        "U-Net GAN + CutMix, CelebA 64 px",
        "celeba128-unet",
        "celeba",
        "data.size=64 data.flip=true model.width=16 train.batch_size=8 train.steps=2000 "
        "optim.g.lr=2e-4 optim.d.lr=5e-4",
    ),
    Entry(
        "stylegan2",
        "StyleGAN2 + DiffAugment + R1 + path length, CelebA 32 px",
        "cifar10-stylegan2-diffaugment100",
        "celeba",
        "model.width=4 model.latent=64 train.batch_size=16 train.steps=1500 model.generator.fmap_max=64 "
        "model.generator.mapping_layers=4 model.critic.fmap_max=64 objective.terms.r1.every=8 "
        "objective.terms.path_length.every=4",
    ),
)

REGULARISERS = tuple(
    Entry(
        name,
        caption,
        "celeba64-dcgan-icr",
        "celeba",
        "model.width=16 train.batch_size=16 optim.g.lr=5e-4 optim.d.lr=5e-4 train.steps=1200 "
        f"objective.terms.bcr=null objective.terms.zcr=null {terms}",
    )
    for name, caption, terms in (
        ("m-none", "no regulariser", ""),
        ("m-bcr", "bCR, weights 10", "objective.terms.bcr.real=10"),
        ("m-icr", "ICR (bCR 10, zCR 5 and 0.5)", "objective.terms.zcr.dis=5 objective.terms.bcr.real=10"),
        ("m-gp1", "GP, weight 1", "objective.terms.gp.weight=1"),
        ("m-gp", "GP, weight 10", "objective.terms.gp.weight=10"),
        ("m-dragan1", "DRAGAN, weight 1", "objective.terms.dragan.weight=1"),
    )
)

FEW = "model.width=8 model.latent=64 model.conditional=false model.generator.fmap_max=64 model.critic.fmap_max=64"
METHODS = (
    Entry(
        "fastgan",
        "FastGAN + DiffAugment, 100 faces, 64 px",
        "obama256-fastgan",
        "celeba",
        "data.max_images=100 data.size=64 model.width=16 train.steps=2000 train.ema.half_life=200",
    ),
    Entry(
        "ada",
        "StyleGAN2 + ADA, 1,000 faces, 32 px",
        "cifar10-stylegan2-ada",
        "celeba",
        f"data.max_images=1000 data.flip=true {FEW} train.batch_size=16 augment.ada.kimg=100 train.steps=3000 "
        "train.ema.half_life=200 objective.terms.r1.gamma=0.1",
    ),
    Entry(
        "apa",
        "StyleGAN2 + APA, 1,000 faces, 32 px",
        "cifar10-stylegan2-ada",
        "celeba",
        f"data.max_images=1000 data.flip=true {FEW} train.batch_size=16 augment.ada=null augment.apa.kimg=100 "
        "train.steps=3000 train.ema.half_life=200 objective.terms.r1.gamma=0.1",
    ),
)

R3GAN = (
    Entry(
        "r3gan",
        "R3GAN, 10,000 faces, 32 px",
        "cifar10-r3gan",
        "celeba",
        "data.flip=true model.width=6 model.conditional=false model.generator.groups=16 model.critic.groups=16 "
        "model.generator.full=8 model.critic.full=8 model.generator.blocks=1 model.critic.blocks=1 augment.ada=null "
        "train.batch_size=16 train.steps=6000 train.ema.half_life=100 objective.terms.r1.gamma=2 "
        "objective.terms.r2.gamma=2 optim.g.beta2=0.99 optim.d.beta2=0.99 "
        "'optim.g.lr={shape: cosine, start: 1e-3, end: 2.5e-4, steps: 6000}' "
        "'optim.d.lr={shape: cosine, start: 1e-3, end: 2.5e-4, steps: 6000}'",
    ),
)

SHEETS = {"families": FAMILIES, "regularisers": REGULARISERS, "methods": METHODS, "r3gan": R3GAN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("celeba", "cifar10", "imagenette"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="+", choices=SHEETS, default=list(SHEETS))
    parser.add_argument("--runs", type=Path, default=Path("runs/gallery"))
    parser.add_argument("--machine", default="2-core CPU (AVX-512 bf16), 1 thread, other work on the machine")
    arguments = parser.parse_args()
    paths = {name: getattr(arguments, name) for name in ("celeba", "cifar10", "imagenette")}
    rows = []
    for name in arguments.only:
        for one in SHEETS[name]:
            out, data = arguments.runs / one.name, paths[one.data]
            if data is None:
                parser.error(f"--{one.data} is needed for {one.name}")
            if not is_finished(out):
                words = ["train", str(out), "--resume"] if (out / "config.yaml").is_file() else one.command(data, out)
                subprocess.run([sys.executable, "-m", "steadygan", *words], check=True)
            rows.append(row(one, out, arguments.machine))
        sheet(SHEETS[name], arguments.runs, ROOT / f"docs/images/{name}.png", images=(8, 3))
    with (ROOT / "results/cpu-real-images.csv").open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, list(rows[0]), lineterminator="\n").writerows(rows)


def row(one: Entry, run: Path, machine: str) -> dict[str, object]:
    """Values from the run's own files, in the columns of results/cpu-real-images.csv."""
    last = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    origin = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    command = ["steadygan", *one.command(Path(f"{one.data}.zip"), Path("runs") / one.name)]
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        "preset": one.preset,
        "steps": last["step"],
        "images": last["images"],
        "seconds": round(last["seconds"]),
        "images_per_s": round(last["images"] / last["seconds"], 1),
        "machine": machine,
        "torch": origin["versions"]["torch"].partition("+")[0],
        "commit": head.stdout.strip(),
        "command": shlex.join(command),
    }


def sheet(entries: tuple[Entry, ...], runs: Path, out: Path, *, images: tuple[int, int]) -> None:
    """A block of (columns, rows) samples for each run, as large as 48 px ones, under its caption."""
    columns, lines = images
    across = min(2, len(entries))
    font = ImageFont.load_default(size=13)
    blocks = []
    for one in entries:
        generator = steadygan.load(runs / one.name, device="cpu")
        classes = list(range(min(columns, generator.classes))) if generator.classes else None
        samples = generator.sample(columns * lines, classes=classes)
        scale = torch.nn.functional.interpolate(samples.float(), (48, 48), mode="bilinear", antialias=True)
        blocks.append(grid(scale.round().clamp(0, 255).to(torch.uint8), columns))
    width, height = blocks[0].width + 12, blocks[0].height + 30
    page = Image.new("RGB", (across * width, -(-len(blocks) // across) * height), "white")
    draw = ImageDraw.Draw(page)
    for index, (one, block) in enumerate(zip(entries, blocks, strict=True)):
        left, top = index % across * width, index // across * height
        draw.text((left + 4, top + 6), one.caption, "black", font)
        page.paste(block, (left, top + 26))
    page.save(out, optimize=True)


if __name__ == "__main__":
    main()
