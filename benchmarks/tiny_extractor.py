"""Trains the extractor behind FD-tiny and writes src/steadygan/pretrained/tiny.safetensors.

    python benchmarks/tiny_extractor.py --cifar10 cifar10_train.zip --imagenette imagenette128.zip \
        --squeezenet squeezenet_v1.0_imagenet.npz --cache FOLDER

A small network imitates the 128 strongest principal components of SqueezeNet's features (Hinton, Vinyals and Dean 2015,
"Distilling the knowledge in a neural network", here by least squares): of images of CIFAR-10 at 32 pixels and of
Imagenette at 32 to 64, as they are and damaged as generators damage them (`damages.py`). It begins with the network of
`tiny_maps.py`. SqueezeNet's answers take most of the time; they are kept in --cache, part by part. One seed: the same
machine and torch give the same bytes. The last part is not trained on and says how much of the variance is explained;
its images are drawn from the same ones, so that some were trained on in other crops, or damaged otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from damages import Damages, to_bytes
from digits_classifier import initialise
from tiny_maps import adamw, cut, integers, read, save
from torch import Tensor, nn

from steadygan.pictures.pixels import to_float
from steadygan.pretrained.extractor import Extractor, load_state
from steadygan.pretrained.registry import get_extractor
from steadygan.pretrained.tiny import FEATURES, MAPS, WEIGHTS, TinyNet

SEED = 0
PARTS = 12
STEPS = 4_000
LR, WEIGHT_DECAY = 2e-3, 2e-2
CROPS = (64, 128)
"""Range of the side of the squares that are cut out of Imagenette's images."""
POOL = 1_000
"""Images of each size that damages mix."""
SIZES: dict[int, tuple[int, int]] = {32: (150, 64), 40: (50, 48), 48: (100, 32), 56: (50, 24), 64: (100, 16)}
"""Side in pixels → crops of Imagenette in a part, as many of them damaged, and images of a batch."""
CIFAR = (700, 900)
"""Images of CIFAR-10 in a part, undamaged and damaged."""
CYCLE = (32, 32, 32, 48, 32, 32, 64, 32, 40, 32, 32, 56)
"""Sides of the batches in turn."""
TOGETHER = 10
"""So many images are damaged alike."""
Sides = dict[int, Tensor]


def crops(images: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """uint8 (`count`, 3, size, size): squares of random extent, resized as data sets are, 25 of one extent."""
    found = []
    for _ in range(0, count, 25):
        side = int(integers(*CROPS, generator))
        chosen = torch.randint(len(images), (25,), generator=generator)
        squares = cut(images[chosen], side, generator).float()
        found.append(F.interpolate(squares, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255).byte())
    return torch.cat(found)


def parts(cifar: Tensor, imagenette: Tensor, count: int) -> Iterator[Sides]:
    """The images of one part after another, by size; the same ones every time."""
    generator = torch.Generator().manual_seed(SEED)
    pool = {32: cifar[torch.randperm(len(cifar), generator=generator)[: 2 * POOL]]}
    pool |= {size: crops(imagenette, POOL, size, generator) for size in SIZES if size != 32}
    damages = Damages(generator, pool)

    def damaged(images: Tensor) -> list[Tensor]:
        return [to_bytes(damages(to_float(some))) for some in images.split(TOGETHER)]

    def drawn(count: int) -> Tensor:
        return cifar[torch.randint(len(cifar), (count,), generator=generator)]

    for _ in range(count):
        images: dict[int, list[Tensor]] = {32: [drawn(CIFAR[0]), *damaged(drawn(CIFAR[1]))]}
        for size, (number, _batch) in SIZES.items():
            plain = crops(imagenette, number, size, generator)
            images.setdefault(size, []).extend((plain, *damaged(crops(imagenette, number, size, generator))))
        yield {size: torch.cat(several) for size, several in images.items()}


def answered(images: Iterator[Sides], teacher: Extractor, cache: Path) -> Iterator[tuple[Sides, Sides]]:
    """Each part with the teacher's features (N, 512), from the cache where it has them."""
    cache.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for number, part in enumerate(images):
        path = cache / f"part{number:02}.pt"
        if not path.exists():
            torch.save((part, {size: teacher(some).features.half() for size, some in part.items()}), path)
        stored: tuple[Sides, Sides] = torch.load(path, weights_only=True)
        if any(not torch.equal(stored[0][size], some) for size, some in part.items()):
            raise SystemExit(f"{path} has other images; delete it, or give another --cache")
        print(f"part {number}: {time.perf_counter() - began:.0f} s", flush=True)
        yield stored


class Targets:
    """What the network shall answer: the teacher's strongest principal components, scaled to a total variance of 1."""

    def __init__(self, features: Tensor) -> None:
        self.mean = features.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov(features.T).double())
        self.directions = directions.flip(1)[:, :FEATURES].float()
        kept = variances.flip(0)[:FEATURES].sum()
        self.scale, self.kept = kept.sqrt().item(), (kept / variances.sum()).item()

    def __call__(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) @ self.directions / self.scale


def to_input(images: Tensor) -> Tensor:
    return to_float(images).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def explained(network: TinyNet, images: Sides, wanted: Sides) -> dict[int, float]:
    """Share of the targets' variance that the network explains, by size."""
    network.eval()
    found = {}
    for size, targets in wanted.items():
        answers = torch.cat([network(to_input(some)).features for some in images[size].split(64)])
        found[size] = 1 - ((answers - targets).square().sum() / (targets - targets.mean(0)).square().sum()).item()
    network.train()
    return found


def train(network: TinyNet, images: Sides, wanted: Sides, steps: int) -> Iterator[tuple[int, float]]:
    """Least squares with AdamW and one cycle of the learning rate; half of the images mirrored. Yields step, loss."""
    generator = torch.Generator().manual_seed(SEED)
    nn.init.normal_(network.head.weight, std=0.02, generator=generator)
    optimiser, schedule = adamw(network, steps, rate=LR, decay=WEIGHT_DECAY, rise=0.15)
    for step in range(1, steps + 1):
        size = CYCLE[step % len(CYCLE)]
        chosen = torch.randint(len(images[size]), (SIZES[size][1],), generator=generator)
        x = images[size][chosen]
        mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        answers = network(to_input(torch.where(mirrored, x.flip(3), x))).features
        loss = (answers - wanted[size][chosen]).square().sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        yield step, loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cifar10", "imagenette", "squeezenet", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=PARTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    teacher = get_extractor("squeezenet", weights={"squeezenet": options.squeezenet})
    images = parts(read(options.cifar10, 32).images, read(options.imagenette, 128).every(10)[0].images, options.parts)
    *seen, held_out = answered(images, teacher, options.cache)
    targets = Targets(torch.cat([features.float() for _, several in seen for features in several.values()]))
    joined = {size: torch.cat([part[size] for part, _ in seen]) for size in SIZES}
    wanted = {size: torch.cat([targets(features[size]) for _, features in seen]) for size in SIZES}
    checked = {size: targets(features) for size, features in held_out[1].items()}
    generator = torch.Generator().manual_seed(SEED)
    network = TinyNet().train().requires_grad_(True)
    initialise(network, generator)
    load_state(network.trunk, MAPS).train().requires_grad_(True)
    network.to(memory_format=torch.channels_last)
    began = time.process_time()
    for step, loss in train(network, joined, wanted, options.steps):
        if step % 50 < 2:
            print(f"{step} {CYCLE[step % len(CYCLE)]} px {loss:.3f} {time.process_time() - began:.0f} s", flush=True)
        if step % 500 == 0 or step == options.steps:
            share = {str(size): round(value, 4) for size, value in explained(network, held_out[0], checked).items()}
            print(share, flush=True)
    seconds = round(time.process_time() - began)
    about = {"architecture": "TinyNet", "teacher_sha256": teacher.sha256, "seed": SEED, "steps": options.steps}
    save(network.eval(), options.out, **about, components=round(targets.kept, 4), explained=share)
    print(f"{share}, {seconds} s of CPU, {options.out.stat().st_size:,} bytes → {options.out}")


if __name__ == "__main__":
    main()
