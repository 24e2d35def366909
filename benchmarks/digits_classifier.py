"""Trains the extractor behind FD-digits and writes src/steadygan/pretrained/digits.safetensors.

    python benchmarks/digits_classifier.py

One thread, one seed, deterministic kernels: the same machine and torch give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from steadygan.data.digits import digits
from steadygan.pretrained.digits import Digits, DigitsNet

SEED = 0
STEPS = 1500
BATCH = 64
HELD_OUT = 0.1
SHIFT = 2


def split(count: int, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the held-out images."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = round(HELD_OUT * count)
    return order[held_out:], order[:held_out]


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He initialisation of all kernels; everything else keeps its constant default or is zeroed."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to ±2 px (background comes in), contrast ±20 %, noise σ 0.1; x (N, 1, H, W) in [-1, 1]."""
    n, _, height, width = x.shape
    padded = F.pad(x, (SHIFT,) * 4, value=-1.0)[:, 0]
    top, left = torch.randint(2 * SHIFT + 1, (2, n, 1, 1), generator=generator)
    rows, columns = top + torch.arange(height)[:, None], left + torch.arange(width)
    shifted = padded[torch.arange(n)[:, None, None], rows, columns][:, None]
    gain = 0.8 + 0.4 * torch.rand(n, 1, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(x.shape, generator=generator)
    return ((shifted + 1) * gain - 1 + noise).clamp(-1, 1)


def train(steps: int = STEPS, seed: int = SEED) -> tuple[DigitsNet, float]:
    """The trained classifier in eval mode, and its accuracy in [0, 1] on the held-out images."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = (torch.from_numpy(array) for array in digits(Digits.size))
    images = images.float() / 127.5 - 1
    seen, held_out = split(len(images), seed)

    network = DigitsNet().train()
    initialise(network, generator)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    for _ in range(steps):
        batch = seen[torch.randint(len(seen), (BATCH,), generator=generator)]
        logits = network(augment(images[batch], generator)).logits
        optimiser.zero_grad()
        F.cross_entropy(logits, labels[batch], label_smoothing=0.05).backward()
        optimiser.step()
        schedule.step()

    network.eval()
    with torch.no_grad():
        read = network(images[held_out]).logits.argmax(1)
    return network, (read == labels[held_out]).double().mean().item()


def save(network: DigitsNet, path: Path, **about: object) -> None:
    """Weights and, as metadata, one JSON object: several metadata keys would be written in random order."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={"about": json.dumps(about, sort_keys=True)})


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the extractor behind FD-digits.")
    parser.add_argument("--out", type=Path, default=Digits.weights)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network, accuracy = train()
    save(network, out, architecture="DigitsNet", seed=SEED, steps=STEPS, held_out_accuracy=round(accuracy, 4))
    print(f"held-out accuracy {accuracy:.4f}, {out.stat().st_size:,} bytes → {out}")


if __name__ == "__main__":
    main()
