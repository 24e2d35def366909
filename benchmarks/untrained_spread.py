"""Does an untrained discriminator tell images apart? The standard deviation of its logit over real images.

    python benchmarks/untrained_spread.py ../shared/data/celeba10k.zip ../shared/data/imagenette128.zip

For each set, network and slope (`model.critic.sn_gain`) the least, median and greatest of five seeds. The rows replace
results/untrained-spread.csv; some minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
from pathlib import Path
from statistics import median

import numpy as np
import torch

from steadygan.data.source import open_source
from steadygan.nets.registry import create_critic
from steadygan.pictures.pixels import to_float

RESULTS = Path(__file__).parents[1] / "results" / "untrained-spread.csv"
NETWORKS = (("resnet", 32, 16), ("dcgan", 48, 16), ("resnet", 48, 16), ("resnet", 64, 16), ("resnet", 128, 32))
GAINS, SEEDS, IMAGES = (1, 2), 5, 128


def spread(kind: str, width: int, gain: float, seed: int, x: torch.Tensor) -> float:
    """The standard deviation of an untrained D's logits over the images x (N, C, S, S)."""
    torch.manual_seed(seed)
    critic = create_critic(kind, size=x.shape[-1], channels=x.shape[1], classes=0, width=width, sn_gain=gain).eval()
    with torch.no_grad():
        return float(critic(x).logit.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    names = " ".join(path.name for path in options.data)
    rows = []
    for path in options.data:
        for kind, size, width in NETWORKS:
            source = open_source(str(path), size=size)
            chosen = np.linspace(0, len(source) - 1, IMAGES).round().astype(int)
            read = [image for image in map(source.try_read, chosen.tolist()) if isinstance(image, np.ndarray)]
            x = to_float(torch.from_numpy(np.stack(read)))
            for gain in GAINS:
                found = [spread(kind, width, gain, seed, x) for seed in range(SEEDS)]
                numbers = {name: f"{of(found):.3g}" for name, of in (("least", min), ("median", median), ("most", max))}
                row = {"set": path.stem, "kind": kind, "size": size, "width": width, "sn_gain": gain, **numbers}
                about = {"images": len(x), "seeds": SEEDS, "commit": commit, "torch": torch.__version__}
                rows.append(row | about | {"command": f"python benchmarks/untrained_spread.py {names}"})
                print(*row.values())
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
