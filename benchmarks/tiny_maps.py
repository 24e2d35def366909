"""Trains the network behind model.features=tiny and writes src/steadygan/pretrained/tiny_maps.safetensors.

    python benchmarks/tiny_maps.py --cifar10 cifar10_train.zip --cifar10-test cifar10_test.zip \
        --imagenette imagenette128.zip

One network names the ten classes of CIFAR-10 at 32 pixels and the ten of Imagenette at 32 to 64, each by a linear
layer of its own. These and the last block are not kept. It sees crops, flips and mild changes of colour. It never sees
blur, noise or JPEG of ours. One thread, one seed, deterministic kernels: the same machine and torch give the same
bytes. Every tenth image of Imagenette is held out, as is CIFAR-10's test set.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from digits_classifier import initialise
from safetensors.torch import save_file
from torch import Tensor, nn

from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import open_source
from steadygan.pretrained.tiny import FEATURES, LARGEST, MAPS, SMALLEST, Block, Trunk

SEED = 0
STEPS = 4_000
BATCH = 128
LR, WEIGHT_DECAY = 4e-3, 5e-2
LABEL_SMOOTHING = 0.05
IMAGENETTE_EVERY = 4
"""One batch in so many is of Imagenette, of half as many images: there are 2,000 of them against 50,000."""
SIDE = 128
"""Of Imagenette's images as they are stored."""
CROPS = (64, SIDE)
"""Range of the side of the square that is cut out of them, of which one is drawn for a batch."""
PAD = 4
"""CIFAR-10's images are shifted by as many pixels."""
COLOUR = 0.2
"""Brightness, contrast and saturation change by up to this share."""


@dataclass(frozen=True)
class Labelled:
    """uint8 images (N, 3, S, S) and labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def every(self, step: int) -> tuple[Labelled, Labelled]:
        """All but every `step`-th, and these."""
        held_out = torch.arange(len(self)) % step == 0
        parts = (Labelled(self.images[kept], self.labels[kept]) for kept in (~held_out, held_out))
        first, second = parts
        return first, second


class Classifier(nn.Module):
    """A `Trunk` under a block of 192 channels that is not kept, and a linear layer for each of two sets of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.last = Block(FEATURES, 192)
        self.heads = nn.ModuleList([nn.Linear(192, 10), nn.Linear(192, 10)])

    def forward(self, x: Tensor, which: int) -> Tensor:
        logits: Tensor = self.heads[which](self.last(self.trunk(x)[-1]).mean((2, 3)))
        return logits


def read(path: Path, size: int) -> Labelled:
    source = open_source(str(path), size=size, channels=3)
    loaded = load_images(source, torch.arange(len(source)).numpy())
    assert isinstance(loaded, ImageSet)
    assert loaded.labels is not None
    return Labelled(loaded.take(torch.arange(len(loaded))), loaded.labels)


def integers(low: int, high: int, generator: torch.Generator, count: int = 1) -> Tensor:
    """`count` integers in [low, high]."""
    return torch.randint(low, high + 1, (count,), generator=generator)


def cut(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of `side` pixels out of each image (N, C, H, W), each at a place of its own, half of them mirrored."""
    n, _, height, width = images.shape
    rows = integers(0, height - side, generator, n)[:, None] + torch.arange(side)
    columns = integers(0, width - side, generator, n)[:, None] + torch.arange(side)
    columns = torch.where(integers(0, 1, generator, n)[:, None] == 1, columns.flip(1), columns)
    picked = images[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of each image of (N, 3, H, W) in [-1, 1], each changed by up to ±20 %."""
    brightness, contrast, saturation = 1 + COLOUR * (2 * torch.rand(3, len(x), 1, 1, 1, generator=generator) - 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * contrast + brightness - 1).clamp(-1, 1)


def cifar_batch(data: Labelled, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.randint(len(data), (BATCH,), generator=generator)
    padded = F.pad(data.images[chosen].float() / 127.5 - 1, (PAD,) * 4, mode="reflect")
    return colour(cut(padded, data.images.shape[-1], generator), generator), data.labels[chosen]


def imagenette_batch(data: Labelled, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Crops of random extent, resized to a multiple of 8 from 32 to 64 pixels as data sets are: antialiased, uint8."""
    chosen = torch.randint(len(data), (BATCH // 2,), generator=generator)
    side = int(integers(*CROPS, generator))
    size = 8 * int(integers(SMALLEST // 8, LARGEST // 8, generator))
    crops = cut(data.images[chosen], side, generator).float()
    resized = F.interpolate(crops, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
    return colour(resized / 127.5 - 1, generator), data.labels[chosen]


def adamw(
    network: nn.Module, steps: int, *, rate: float, decay: float, rise: float
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW, which decays kernels only, and one cycle of its rate, which rises for a share `rise` of the steps."""
    parameters = list(network.parameters())
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=rate, fused=True)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=rise)


@torch.no_grad()
def accuracy(network: Classifier, which: int, data: Labelled, size: int) -> float:
    """Share of images read as their class, one of set number `which`, at `size` pixels."""
    network.eval()
    right = 0
    for images, labels in zip(data.images.split(250), data.labels.split(250), strict=True):
        x = images.float()
        if x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
        right += int((network(x / 127.5 - 1, which).argmax(1) == labels).sum())
    network.train()
    return right / len(data)


def train(
    cifar: Labelled, imagenette: Labelled, *, steps: int = STEPS, seed: int = SEED, precision: str = "bfloat16"
) -> Classifier:
    """The trained network; set 0 are CIFAR-10's classes, set 1 Imagenette's."""
    generator = torch.Generator().manual_seed(seed)
    network = Classifier().train().to(memory_format=torch.channels_last)
    initialise(network, generator)
    optimiser, schedule = adamw(network, steps, rate=LR, decay=WEIGHT_DECAY, rise=0.2)
    began = time.perf_counter()
    for step in range(1, steps + 1):
        second = step % IMAGENETTE_EVERY == 0
        images, labels = imagenette_batch(imagenette, generator) if second else cifar_batch(cifar, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images.contiguous(memory_format=torch.channels_last), int(second))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 50 < 2:
            print(f"{step} {'I' if second else 'C'} {loss.item():.3f} {time.perf_counter() - began:.0f} s", flush=True)
    return network.eval()


def save(network: nn.Module, path: Path, **about: object) -> None:
    """Weights in float16 and, as metadata, one JSON object: several metadata keys would be written in random order."""
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    halves = {name: tensor.contiguous().half() for name, tensor in state.items()}
    save_file(halves, path, metadata={"about": json.dumps(about, sort_keys=True)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cifar10", "cifar10-test", "imagenette"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--out", type=Path, default=MAPS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    cifar, cifar_test = read(options.cifar10, 32), read(options.cifar10_test, 32)
    imagenette, held_out = read(options.imagenette, SIDE).every(10)
    began = time.process_time()
    network = train(cifar, imagenette, steps=options.steps, precision=options.precision)
    seconds = round(time.process_time() - began)
    measured = {"cifar10_accuracy": accuracy(network, 0, cifar_test, 32)}
    measured |= {f"imagenette{size}_accuracy": accuracy(network, 1, held_out, size) for size in (32, 64)}
    measured = {name: round(value, 4) for name, value in measured.items()}
    about = {"architecture": "Trunk", "seed": SEED, "steps": options.steps, "precision": options.precision}
    save(network.trunk, options.out, **about, **measured)
    print(f"{measured}, {seconds} s of CPU, {options.out.stat().st_size:,} bytes → {options.out}")


if __name__ == "__main__":
    main()
