"""How fast a training step is, by rounds of one mode after another: what the machine does meanwhile hits all alike.

    python benchmarks/step.py cifar10-biggan-icr --modes plain,fast --batch 32
    python benchmarks/step.py benchmarks/studiogan-biggan-icr.yaml --modes fast \
        --studiogan PATH --peer-config CIFAR10/BigGAN-ICR.yaml --peer-modes peer,peer+malloc

Each mode of each preset is a process of its own with synthetic images in memory, warmed up, that waits for its turn.
A row says: images that D's updates have seen per second of whole iterations (median, and the slowest and quickest
round), peak memory, arithmetic of an iteration, and its share of what the machine's matrix products reach.
"""

from __future__ import annotations

import argparse
import csv
import gc
import multiprocessing
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.data import ImageSet, Source, load_images
from steadygan.machine import keep_freed_memory
from steadygan.training.step import train_step

MODES: dict[str, dict[str, str]] = {
    "plain": {"fold": "false", "channels_last": "false", "precision": "float32"},
    "channels-last": {"fold": "false", "precision": "float32"},
    "folded": {"channels_last": "false", "precision": "float32"},
    "fast-fp32": {"precision": "float32"},
    "fast-fp32+compile": {"precision": "float32", "compile": "true"},
    "bf16-unfolded": {"fold": "false", "precision": "bfloat16"},
    "fast": {"precision": "bfloat16"},
    "fast+compile": {"precision": "bfloat16", "compile": "true"},
}
"""Settings below `train.`; what is not named is the default."""
PEER_MODES = ("peer", "peer+malloc", "peer+malloc+bf16")

Step = Callable[[], None]


@dataclass(frozen=True)
class Job:
    """One process: a preset (or a peer's configuration) in one mode."""

    preset: str
    mode: str
    batch: int
    device: str
    overrides: tuple[str, ...]
    studiogan: str = ""

    def build(self) -> tuple[Step, int]:
        """A whole iteration, and the real images that D sees in it."""
        if self.mode in PEER_MODES:
            from peers.studiogan import studiogan_step

            if "malloc" in self.mode:
                keep_freed_memory()
            step, updates = studiogan_step(Path(self.studiogan), self.preset, batch=self.batch, device=self.device)
            return rounded(step, self.device) if "bf16" in self.mode else step, updates * self.batch
        if self.device == "cpu":
            keep_freed_memory()
        settings = [f"train.{key}={value}" for key, value in MODES[self.mode].items()]
        config = configuration.load(
            self.preset, [f"train.batch_size={self.batch}", *settings, *self.overrides, f"train.device={self.device}"]
        )
        state = build_state(config, synthetic(config), torch.device(self.device))
        return lambda: void(train_step(state)), config.train.phases.count("D") * self.batch


def void(value: object) -> None:
    """Takes a value and gives none."""


def rounded(step: Step, device: str) -> Step:
    """The step under bfloat16 autocast."""

    def run() -> None:
        with torch.autocast(device, torch.bfloat16):
            step()

    return run


def synthetic(config: configuration.Config) -> ImageSet:
    """Random images of the preset's shape on its device, ten classes."""
    side, channels = config.data.size, config.data.channels or 3
    count = max(1024, 2 * config.train.batch_size)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, channels, side, side), dtype=np.uint8)
    names = tuple(map(str, range(10))) if config.model.conditional else ()
    labels = rng.integers(10, size=count) if config.model.conditional else None
    source = Source("noise", side, channels, names, labels, images=images)
    return load_images(source, np.arange(count), device=config.train.device)


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def reachable(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in "ab")
    times = []
    for _ in range(8):
        synchronise(device)
        began = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - began)
    return 2 * side**3 / median(times)


def serve(job: Job, link: Connection) -> None:
    """Builds the job, tells its facts, then answers every request for `n` iterations with the seconds they took."""
    torch.manual_seed(0)
    step, images = job.build()
    facts: dict[str, Any] = {"images": images, "flop": None}
    if not job.mode.endswith("compile"):
        counter = FlopCounterMode(display=False)
        with counter:
            step()
        facts["flop"] = counter.get_total_flops()
    else:
        step()
    link.send(facts)
    while (count := link.recv()) > 0:
        gc.collect()
        synchronise(job.device)
        began = time.perf_counter()
        for _ in range(count):
            step()
        synchronise(job.device)
        link.send(time.perf_counter() - began)
    rounded_to = "bfloat16" if "bf16" in job.mode else MODES.get(job.mode, {}).get("precision", "float32")
    if job.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    link.send({"peak": peak, "reachable": reachable(job.device, getattr(torch, rounded_to))})


def measure(jobs: list[Job], rounds: int, steps: int) -> list[dict[str, Any]]:
    """One row a job."""
    context = multiprocessing.get_context("spawn")
    links, facts = [], []
    for job in jobs:
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(job, theirs), daemon=True).start()
        links.append(ours)
        facts.append(ours.recv())
        print(f"ready       {job.preset} {job.mode}", flush=True)
    seconds: list[list[float]] = [[] for _ in jobs]
    for round_ in range(rounds):
        for i, link in enumerate(links):
            link.send(steps)
            seconds[i].append(link.recv() / steps)
            rate = facts[i]["images"] / seconds[i][-1]
            print(f"round {round_ + 1}/{rounds}   {jobs[i].preset} {jobs[i].mode}: {rate:.1f} images/s", flush=True)
    rows = []
    for job, link, fact, times in zip(jobs, links, facts, seconds, strict=True):
        link.send(0)
        end = link.recv()
        flop = fact["flop"] or next((f["flop"] for j, f in zip(jobs, facts, strict=True) if twin(j, job)), None)
        rates = sorted(fact["images"] / value for value in times)
        rows.append(
            {
                "preset": Path(job.preset).stem if job.studiogan == "" else f"StudioGAN {job.preset}",
                "mode": job.mode,
                "batch": job.batch,
                "rounds": rounds,
                "images_per_s": round(median(rates), 2),
                "slowest": round(rates[0], 2),
                "quickest": round(rates[-1], 2),
                "peak_MiB": round(end["peak"]),
                "GFLOP": None if flop is None else round(flop / 1e9, 1),
                "of_reachable": None if flop is None else round(flop / median(times) / end["reachable"], 3),
            }
        )
    return rows


def twin(other: Job, job: Job) -> bool:
    """Whether `other` is `job` without compilation, and so of the same arithmetic."""
    return other.preset == job.preset and f"{other.mode}+compile" == job.mode


def machine(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()}-core CPU ({platform.machine()})"


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+", help="presets or YAML files")
    parser.add_argument("--modes", default="plain,fast", help=f"of {', '.join(MODES)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="overrides for all presets")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="iterations a round")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--studiogan", default="", help="a checkout of PyTorch-StudioGAN")
    parser.add_argument("--peer-config", action="append", default=[], help="below its src/configs")
    parser.add_argument("--peer-modes", default="peer,peer+malloc", help=f"of {', '.join(PEER_MODES)}")
    parser.add_argument("--out", type=Path, default=Path("results/speed.csv"), help="rows are appended")
    arguments = parser.parse_args()
    jobs = [
        Job(preset, mode, arguments.batch, arguments.device, tuple(arguments.set))
        for preset in arguments.presets
        for mode in arguments.modes.split(",")
    ]
    jobs += [
        Job(config, mode, arguments.batch, arguments.device, (), arguments.studiogan)
        for config in arguments.peer_config
        for mode in arguments.peer_modes.split(",")
    ]
    rows = measure(jobs, arguments.rounds, arguments.steps)
    about = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": machine(arguments.device),
        "torch": torch.__version__,
    }
    new = not arguments.out.is_file()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*about, *rows[0]])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow(about | row)
            print({key: row[key] for key in ("preset", "mode", "images_per_s", "peak_MiB", "GFLOP", "of_reachable")})


if __name__ == "__main__":
    main()
