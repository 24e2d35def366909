"""How FD-squeezenet and its companions respond to known damage: blur, noise, JPEG, dropped classes.

    python benchmarks/squeezenet_response.py --train cifar10_train.zip --test cifar10_test.zip \
        --weights squeezenet_v1.0_imagenet.npz --out results/fd-squeezenet.csv

The reals are training images, the "fakes" test images, as they are or damaged: `none` is the score of a perfect
generator. One CSV row each. `FD_std` is the standard deviation of the distance over bootstrap resamples of the fakes;
dropped classes are chosen by the labels, at an equal number of images.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.metrics.frechet import Moments, frechet_distance
from steadygan.metrics.kid import kernel_distance
from steadygan.metrics.prdc import prdc
from steadygan.pretrained.extractor import Extractor
from steadygan.pretrained.registry import get_extractor

BLURS, NOISES, QUALITIES = (0.5, 1.0, 2.0), (8, 32), (75, 10)
CLASSES_KEPT = (10, 8, 5, 2)
RESAMPLES = 10


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of uint8 NCHW, σ in pixels."""
    return _by_image(images, lambda image: image.filter(ImageFilter.GaussianBlur(sigma)))


def noise(images: Tensor, deviation: float) -> Tensor:
    """Gaussian noise of this deviation, of 255."""
    draws = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + deviation * draws).round().clamp(0, 255).to(torch.uint8)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Written as JPEG and read back."""

    def through(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_image(images, through)


def _by_image(images: Tensor, change: Any) -> Tensor:
    arrays = [np.asarray(change(Image.fromarray(image))) for image in images.permute(0, 2, 3, 1).numpy()]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def first(path: Path, count: int) -> tuple[Tensor, Tensor]:
    """`count` images spread evenly over a data set, and their labels."""
    source = open_source(str(path), size=32, channels=3)
    images = load_images(source, np.linspace(0, len(source) - 1, count).astype(int))
    assert images.labels is not None
    return images.take(torch.arange(len(images))), images.labels


def distance(a: Tensor, b: Tensor) -> float:
    x, y = Moments().update(a), Moments().update(b)
    return frechet_distance(x.mean, x.cov, y.mean, y.cov)


def measure(fakes: Tensor, reals: Tensor) -> dict[str, float]:
    """Every score of features (N, F) against (M, F), with the bootstrap deviation of the distance."""
    generator = torch.Generator().manual_seed(0)
    resamples = [
        distance(fakes[torch.randint(len(fakes), (len(fakes),), generator=generator)], reals) for _ in range(RESAMPLES)
    ]
    kernel, _ = kernel_distance(fakes, reals, subsets=20, subset_size=min(len(fakes), 1000))
    scores = {"FD-squeezenet": distance(fakes, reals), "FD_std": float(np.std(resamples, ddof=1))}
    return scores | {"KD-squeezenet": kernel} | prdc(reals, fakes)._asdict()


def damaged(images: Tensor) -> Iterator[tuple[str, float, Tensor]]:
    """(change, level, images), from the mildest level to the hardest."""
    yield from (("blur sigma", level, blur(images, level)) for level in BLURS)
    yield from (("noise deviation", level, noise(images, level)) for level in NOISES)
    yield from (("jpeg quality", level, jpeg(images, level)) for level in QUALITIES)


def rows(extractor: Extractor, train: Path, test: Path, count: int, damage: int) -> Iterator[dict[str, Any]]:
    reals = extractor(first(train, count)[0]).features
    images, labels = first(test, count)

    def row(change: str, level: float, fakes: Tensor) -> dict[str, Any]:
        scores = {name: round(value, 6) for name, value in measure(fakes, reals).items()}
        return {"change": change, "level": level, "fakes": len(fakes), "reals": len(reals), **scores}

    undamaged = extractor(images).features
    yield row("none", 0, undamaged)
    yield row("none", 0, undamaged[:: count // damage])
    equal = int(torch.bincount(labels)[: min(CLASSES_KEPT)].sum())
    for kept in CLASSES_KEPT:
        among = (labels < kept).nonzero()[:, 0]
        chosen = among[torch.randperm(len(among), generator=torch.Generator().manual_seed(0))[:equal]]
        yield row("classes kept", kept, undamaged[chosen])
    for change, level, changed in damaged(images[:: count // damage]):
        yield row(change, level, extractor(changed).features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "test", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000, help="images on each side")
    parser.add_argument("--damage", type=int, default=1000, help="images that are damaged, a divisor of the count")
    options = parser.parse_args()
    torch.set_num_threads(1)
    extractor = get_extractor("squeezenet", weights={"squeezenet": options.weights})
    commit = run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    command = f"python benchmarks/squeezenet_response.py --count {options.count} --damage {options.damage}"
    began = time.process_time()
    with options.out.open("w", newline="") as file:
        for number, row in enumerate(rows(extractor, options.train, options.test, options.count, options.damage)):
            row |= {"weights_sha256": extractor.sha256[:12], "cpu_seconds": round(time.process_time() - began)}
            row |= {"torch": torch.__version__, "commit": commit, "command": command}
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if not number:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            print(f"{row['change']} {row['level']}: {row['FD-squeezenet']:.2f} ± {row['FD_std']:.2f}", flush=True)


if __name__ == "__main__":
    main()
