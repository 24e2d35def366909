"""Agreement of FD-tiny's and FD-squeezenet's rankings: by known damage, and by checkpoints of real runs.

    python benchmarks/tiny_validation.py damages --cifar10 cifar10_test.zip --celeba celeba10k.zip \
        --imagenette imagenette128.zip --weights squeezenet_v1.0_imagenet.npz --out results/tiny-damages.csv
    python benchmarks/tiny_validation.py checkpoints RUN … --weights squeezenet_v1.0_imagenet.npz \
        --out results/tiny-checkpoints.csv

Damages: two disjoint halves of a data set, one as the reals, images of the other, as they are or damaged, as the fakes;
lost and uneven modes are made by the labels, on CelebA by the brightness of the image in ten equal groups. CIFAR-10 is
read at 32 pixels (its test images, of which the extractor saw none), CelebA at 48 and Imagenette at 64. Checkpoints:
samples of the averaged generator against the images that the run was trained on. The last lines are Spearman's rank
correlations between the two columns, of all rows in the file with today's weights, to which new ones are added.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from squeezenet_response import blur, distance, jpeg, noise
from torch import Tensor

from steadygan import config as configuration
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.generators.loading import load
from steadygan.pretrained.extractor import Extractor
from steadygan.pretrained.registry import get_extractor
from steadygan.tasks.choice import build_images

DAMAGES: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "blur sigma": (blur, (0.3, 0.6, 1, 2)),
    "noise deviation": (noise, (4, 8, 16, 32)),
    "jpeg quality": (lambda images, quality: jpeg(images, int(quality)), (90, 75, 40, 10)),
}
KEPT = (8, 5, 3)
"""Classes of ten, equally often."""
IMBALANCES = (3, 10, 30)
"""How much more frequent the first of ten classes is than the last, the others between in equal ratios."""
SIZES = {"cifar10": 32, "celeba": 48, "imagenette": 64}
"""Side in pixels."""
Row = dict[str, Any]


def halves(path: Path, size: int, reals: int, others: int) -> tuple[Tensor, Tensor, Tensor]:
    """`reals` images, `others` more, and the class of each of these, shuffled alike everywhere."""
    source = open_source(str(path), size=size, channels=3)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: reals + others]
    loaded = load_images(source, order.sort().values.numpy())
    place = torch.randperm(len(loaded), generator=torch.Generator().manual_seed(1))
    images = loaded.take(place)
    if loaded.labels is None:
        brightness = images.float().mean((1, 2, 3))
        labels = brightness.argsort().argsort() * 10 // len(images)
    else:
        labels = loaded.labels[place]
    return images[:reals], images[reals:], labels[reals:]


def picked(labels: Tensor, weights: Tensor, count: int) -> Tensor:
    """Indices of `count` images whose classes are as frequent as `weights` (10,) say."""
    wanted = (weights / weights.sum() * count).round().long()
    parts = []
    for label, number in enumerate(wanted.tolist()):
        found = (labels == label).nonzero()[:, 0]
        if number > len(found):
            raise SystemExit(f"class {label} has {len(found)} images, {number} are needed")
        parts.append(found[:number])
    return torch.cat(parts)


def compared(fakes: dict[str, Tensor], reals: dict[str, Tensor]) -> Row:
    """The Fréchet distance by the features of each extractor, and of how many images."""
    distances = {f"FD-{name}": round(distance(features, reals[name]), 4) for name, features in fakes.items()}
    return {"fakes": len(fakes["tiny"]), "reals": len(reals["tiny"]), **distances}


def subsets(labels: Tensor, count: int) -> Iterator[tuple[str, float, Tensor]]:
    """(damage, level, which images) of damages by class; the first is all classes alike."""
    yield "none", 0, picked(labels, torch.ones(10), count)
    for kept in KEPT:
        yield "classes kept", kept, picked(labels, (torch.arange(10) < kept).float(), count)
    for ratio in IMBALANCES:
        yield "imbalance", ratio, picked(labels, ratio ** -torch.linspace(0, 1, 10), count)


def damages(options: argparse.Namespace, extractors: dict[str, Extractor]) -> Iterator[Row]:
    count = options.fakes
    for data in (name for name in SIZES if getattr(options, name) is not None):
        size = SIZES[data]
        reals, images, labels = halves(getattr(options, data), size, options.reals, 5 * count)
        known = {name: extractor(reals).features for name, extractor in extractors.items()}
        undamaged = {name: extractor(images).features for name, extractor in extractors.items()}
        about = {"data": data, "size": size}
        for damage, level, chosen in subsets(labels, count):
            read = {name: features[chosen] for name, features in undamaged.items()}
            yield about | {"damage": damage, "level": level} | compared(read, known)
        even = images[picked(labels, torch.ones(10), count)]
        for damage, (change, levels) in DAMAGES.items():
            for level in levels:
                changed = change(even, level)
                read = {name: extractor(changed).features for name, extractor in extractors.items()}
                yield about | {"damage": damage, "level": level} | compared(read, known)


def checkpoints(options: argparse.Namespace, extractors: dict[str, Extractor]) -> Iterator[Row]:
    seen: dict[str, dict[str, Tensor]] = {}
    for path in options.runs:
        config = configuration.load(path)
        train = build_images(config, torch.device("cpu")).train
        if train.fingerprint not in seen:
            reals = train.take(np.linspace(0, len(train) - 1, options.reals).astype(int))
            seen[train.fingerprint] = {name: extractor(reals).features for name, extractor in extractors.items()}
        known = seen[train.fingerprint]
        for checkpoint in sorted((path / "checkpoints").glob("step-*")):
            generator = load(checkpoint)
            classes = [k % generator.classes for k in range(options.fakes)] if generator.classes else None
            fakes = generator.sample(options.fakes, classes=classes, seed=0)
            read = {name: extractor(fakes).features for name, extractor in extractors.items()}
            row = {"data": Path(config.data.path).stem, "run": path.name, "kind": config.model.kind}
            row |= {"width": config.model.width, "size": config.data.size}
            yield row | {"step": generator.step} | compared(read, known)


def agreement(rows: list[Row]) -> Iterator[str]:
    """Spearman's ρ between the two distances over all rows of one set of reals."""
    for name in dict.fromkeys(row["data"] for row in rows):
        group = [row for row in rows if row["data"] == name]
        if len(group) > 2:
            found = spearmanr(*([float(row[name]) for row in group] for name in ("FD-tiny", "FD-squeezenet"))).statistic
            yield f"Spearman {name}: {found:.3f} of {len(group)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first, second = commands.add_parser("damages"), commands.add_parser("checkpoints")
    for name in SIZES:
        first.add_argument(f"--{name}", type=Path, help="left out where it is not given")
    second.add_argument("runs", type=Path, nargs="+")
    for command in (first, second):
        command.add_argument("--weights", type=Path, required=True)
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--reals", type=int, default=500)
        command.add_argument("--fakes", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    extractors = {name: get_extractor(name, weights={"squeezenet": options.weights}) for name in ("squeezenet", "tiny")}
    take = damages if options.command == "damages" else checkpoints
    commit = run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    command = f"python benchmarks/tiny_validation.py {options.command} --reals {options.reals} --fakes {options.fakes}"
    began, rows = time.process_time(), []
    if options.out.exists():
        with options.out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    with options.out.open("a", newline="") as file:
        for row in take(options, extractors):
            row |= {"tiny_sha256": extractors["tiny"].sha256[:12], "cpu_seconds": round(time.process_time() - began)}
            row |= {"torch": torch.__version__, "commit": commit, "command": command}
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not rows:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            rows.append(row)
    for line in agreement([row for row in rows if row["tiny_sha256"] == extractors["tiny"].sha256[:12]]):
        print(line)


if __name__ == "__main__":
    main()
