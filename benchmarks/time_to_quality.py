"""The gain of a faster step: FD-squeezenet against processor minutes, ours and PyTorch-StudioGAN's.

    python benchmarks/time_to_quality.py --studiogan PyTorch-StudioGAN --weights squeezenet.npz
    python benchmarks/time_to_quality.py --studiogan PyTorch-StudioGAN --weights squeezenet.npz --seeds 1 --marks 1 2

ICR-BigGAN by class on CIFAR-10, the same networks, batch, phases, rates and images: StudioGAN's own worker, and
benchmarks/studiogan-biggan-icr.yaml, both at --width. Each trains in a process of its own on one thread, in turn, up to
the same marks of its own processor time; reading images counts, scoring does not. The scores are of 2,000 images of the
averaged generators against CIFAR-10's test images. Rows go to results/time-to-quality.csv as they come.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.data.images import ImageSet, load_images
from steadygan.data.source import open_source
from steadygan.kernels.compiled import building
from steadygan.machine import keep_freed_memory, prepare
from steadygan.metrics.evaluation import score
from steadygan.metrics.protocol import get_protocol
from steadygan.pictures.pixels import to_float, to_uint8
from steadygan.tasks.choice import task_of
from steadygan.training.step import train_step

CONFIG, PEER_CONFIG = "benchmarks/studiogan-biggan-icr.yaml", "CIFAR10/BigGAN-ICR.yaml"
LATENT, CLASSES, UPDATES = 80, 10, 5
COLUMNS = (
    *("who", "seed", "minutes", "g_steps", "images", "FD-squeezenet", "precision", "recall", "width", "batch"),
    *("machine", "commit", "torch"),
)

Sample = Callable[[Tensor, Tensor], Tensor]


def ours(images: ImageSet, options: argparse.Namespace, seed: int) -> tuple[Callable[[], None], Sample]:
    """One iteration, and images in [-1, 1] from latents and labels."""
    width = [f"model.width={options.width}", f"model.critic.width={options.width // 2}"]
    whole = [f"train.batch_size={options.batch}", f"train.seed={seed}", "train.precision=auto", "data.flip=true"]
    config = configuration.load(CONFIG, [*width, *whole, "train.threads=1", "train.device=cpu"])
    device = torch.device("cpu")
    prepare(device, tf32=config.train.tf32, autotune=config.train.autotune)
    state = build_state(task_of(config), images, device)

    @building()
    def step() -> None:
        train_step(state)

    return step, lambda z, y: state.ema.net.eval()(z, y)


def studiogan(images: ImageSet, options: argparse.Namespace, seed: int) -> tuple[Callable[[], None], Sample]:
    """The same of StudioGAN's worker, with the allocator setting that our trainer applies to itself."""
    from peers.studiogan import studiogan_worker

    keep_freed_memory()
    job = studiogan_worker(options.studiogan, PEER_CONFIG, batch=options.batch, device="cpu", width=options.width)
    assert (job.OPTIMIZATION.d_updates_per_step, job.MODEL.z_dim, job.DATA.num_classes) == (UPDATES, LATENT, CLASSES)
    draw = np.random.default_rng(seed)
    done = 0

    def basket() -> tuple[list[Tensor], list[Tensor]]:
        parts = [torch.as_tensor(draw.integers(len(images), size=options.batch)) for _ in range(UPDATES)]
        batches = [to_float(images.take(part)) for part in parts]
        flips = [torch.as_tensor(draw.random(options.batch) < 0.5)[:, None, None, None] for _ in parts]
        assert images.labels is not None
        mirrored = [torch.where(flip, batch.flip(3), batch) for flip, batch in zip(flips, batches, strict=True)]
        return mirrored, [images.labels[part] for part in parts]

    job.sample_data_basket = basket

    def step() -> None:
        nonlocal done
        job.train_discriminator(done)
        job.train_generator(done)
        done += 1

    return step, lambda z, y: job.Gen_ema.eval()(z, y, eval=True)


def serve(who: str, options: argparse.Namespace, seed: int, link: Connection) -> None:
    """Trains up to each mark of processor minutes that is asked for and answers with its facts and scores."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    source = open_source(str(options.data / "cifar10_train.zip"), size=32, channels=3)
    images = load_images(source, np.arange(len(source)))
    tests = open_source(str(options.data / "cifar10_test.zip"), size=32, channels=3)
    reals = load_images(tests, np.arange(len(tests)))
    step, sample = {"ours": ours, "PyTorch-StudioGAN": studiogan}[who](images, options, seed)
    spent, steps = 0.0, 0
    protocol = replace(get_protocol("squeezenet-test"), num_fake=options.num_fake, scores=("fd", "prdc"))

    def generate(count: int, labels: Tensor | None, own: int, part: slice) -> Tensor:
        latents = torch.randn(count, LATENT, generator=torch.Generator().manual_seed(own))[part]
        assert labels is not None
        pairs = zip(latents.split(100), labels[part].split(100), strict=True)
        with torch.no_grad():
            return torch.cat([to_uint8(sample(z, y).float()) for z, y in pairs])

    while (minutes := link.recv()) is not None:
        while spent < 60 * minutes:
            began = time.process_time()
            step()
            spent += time.process_time() - began
            steps += 1
        found = score(
            generate,
            reals,
            None,
            protocol,
            classes=CLASSES,
            fingerprint=images.fingerprint,
            cache_dir=options.cache,
            extractor_weights={"squeezenet": options.weights},
        )
        rounded = {name: f"{found[name]:.5g}" for name in ("FD-squeezenet", "precision", "recall")}
        link.send({"g_steps": steps, "images": steps * UPDATES * options.batch, **rounded})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studiogan", type=Path, required=True, help="a checkout of PyTorch-StudioGAN")
    parser.add_argument("--weights", type=Path, required=True, help="SqueezeNet's")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--marks", nargs="+", type=float, default=[2, 5, 10, 20], help="minutes of processor time")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--num-fake", type=int, default=2000)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/steadygan")
    parser.add_argument("--out", type=Path, default=Path("results/time-to-quality.csv"))
    parser.add_argument("--machine", default="2-core CPU, 1 thread each")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    facts = {"width": options.width, "batch": options.batch, "machine": options.machine, "commit": commit.strip()}
    for seed in options.seeds:
        links: dict[str, Connection] = {}
        context = multiprocessing.get_context("spawn")
        for who in ("ours", "PyTorch-StudioGAN"):
            links[who], theirs = context.Pipe()
            context.Process(target=serve, args=(who, options, seed, theirs), daemon=True).start()
            theirs.close()
        for minutes in options.marks:
            for who, link in links.items():
                link.send(minutes)
                row: dict[str, Any] = {"who": who, "seed": seed, "minutes": minutes, **link.recv(), **facts}
                fresh = not options.out.exists()
                with options.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    if fresh:
                        writer.writeheader()
                    writer.writerow(row | {"torch": torch.__version__})
                print(*(row[name] for name in COLUMNS[:8]), flush=True)
        for link in links.values():
            link.send(None)


if __name__ == "__main__":
    main()
