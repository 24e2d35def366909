"""How fast a training step is, in rounds of one mode after another: other load on the machine affects all alike.

    python benchmarks/step.py cifar10-biggan-icr --modes plain,fast --batch 32
    python benchmarks/step.py benchmarks/studiogan-biggan-icr.yaml --modes fast \
        --studiogan PATH --peer-config CIFAR10/BigGAN-ICR.yaml --peer-modes peer,peer+malloc
    python benchmarks/step.py --suite cpu --studiogan PATH
    python benchmarks/step.py --suite cpu-more --translations PATH

Each mode of each preset is a process of its own with synthetic images in memory that waits for its turn, in warming up
and in being timed.
A row says: images that D's updates have seen per second of D phases alone and of whole iterations (median, and the
slowest and quickest round), peak memory, arithmetic of an iteration, and its share of what the machine reaches at best
in a large matrix product or convolution of the same precision.
"""

from __future__ import annotations

import argparse
import csv
import gc
import multiprocessing
import resource
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from limits import machine, reachable, synchronise

from steadygan import config as configuration
from steadygan.build import build_state
from steadygan.data.images import ImageSet, load_images
from steadygan.data.pair_images import PairSet
from steadygan.data.source import Source
from steadygan.estimate import Arithmetic, estimate_cost
from steadygan.kernels.compiled import building
from steadygan.machine import keep_freed_memory, prepare
from steadygan.tasks.choice import task_of
from steadygan.training.graphs import WARM_UP
from steadygan.training.step import run_phase

PLAIN = {"fold": "false", "winograd": "false"}
MODES: dict[str, dict[str, str]] = {
    "plain": {**PLAIN, "channels_last": "false", "precision": "float32"},
    "channels-last": {**PLAIN, "precision": "float32"},
    "folded": {"winograd": "false", "channels_last": "false", "precision": "float32"},
    "fast-fp32-folded": {"winograd": "false", "precision": "float32"},
    "fast-fp32": {"precision": "float32"},
    "fast-fp32+compile": {"precision": "float32", "compile": "true"},
    "bf16-unfolded": {**PLAIN, "precision": "bfloat16"},
    "fast-folded": {"winograd": "false", "precision": "bfloat16"},
    "fast": {"precision": "bfloat16"},
    "fast+compile": {"precision": "bfloat16", "compile": "true"},
    "fast+graphs": {"precision": "bfloat16", "cuda_graphs": "true"},
    "fast+compile+graphs": {"precision": "bfloat16", "compile": "true", "cuda_graphs": "true"},
}
"""Settings below `train.`; what is not named is the default. `fast` is everything, `…-folded`: not train.winograd."""
PEER_MODES = ("peer", "peer+malloc", "peer+malloc+bf16", "peer+amp")
TRANSLATIONS = ("pix2pix", "csgan")
"""Peers of `benchmarks/peers/translation.py`; all others are configurations of StudioGAN."""
PEER = "benchmarks/studiogan-biggan-icr.yaml", "CIFAR10/BigGAN-ICR.yaml"

Step = Callable[[], None]


@dataclass(frozen=True)
class Group:
    """Presets whose modes are interleaved, and so in memory at the same time."""

    presets: tuple[str, ...]
    modes: str = "plain,fast-fp32,fast"
    batch: int = 32
    rounds: int = 3
    steps: int = 1
    peers: tuple[str, ...] = ()
    peer_modes: str = ""

    def jobs(self, device: str, overrides: tuple[str, ...], studiogan: str, translations: str) -> list[Job]:
        """One for each preset and mode, and, where there is a checkout of theirs, for each peer and mode."""
        found = [
            Job(preset, mode, self.batch, device, overrides)
            for preset in self.presets
            for mode in self.modes.split(",")
        ]
        for peer in self.peers:
            if source := translations if peer in TRANSLATIONS else studiogan:
                found += [Job(peer, mode, self.batch, device, (), source) for mode in self.peer_modes.split(",")]
        return found


SUITES: dict[str, tuple[Group, ...]] = {
    "cpu": (
        Group(
            PEER[:1],
            "plain,fast-fp32-folded,fast-fp32,fast-folded,fast",
            peers=PEER[1:],
            peer_modes="peer,peer+malloc,peer+malloc+bf16",
        ),
        Group(("cifar10-dcgan-none", "cifar10-sngan"), steps=2),
        Group(("cifar10-biggan", "cifar10-biggan-cr"), batch=16),
        Group(("cifar10-biggan-bcr", "cifar10-biggan-icr"), batch=16),
        Group(("cifar10-biggan-diffaugment100", "cifar10-logan"), batch=16),
        Group(("cifar10-stylegan2",), batch=16),
        Group(("imagenet128-biggan",), batch=4),
    ),
    "cpu-more": (
        Group(("cufs-pix2pix",), "plain,fast-fp32,fast", 1, 3, 1, ("pix2pix",), "peer,peer+malloc"),
        Group(("cufs-csgan",), "plain,fast-fp32,fast", 1, 3, 1, ("csgan",), "peer,peer+malloc"),
        Group(("cifar10-r3gan",), batch=4),
        Group(("cifar10-stylegan2-ada",), batch=16),
        Group(("obama256-fastgan",), batch=2),
    ),
    "gpu": (
        Group(PEER[:1], "plain,fast,fast+graphs,fast+compile+graphs", 64, 5, 4, PEER[1:], "peer,peer+amp"),
        # One mode at a time: what is resident at once must fit.
        *(Group(("imagenet128-biggan",), mode, 256, 3, 2) for mode in ("fast+graphs", "fast+compile+graphs", "fast")),
    ),
    "gpu-more": (
        Group(("cifar10-biggan-icr",), "plain,fast,fast+compile,fast+graphs", 64, 3, 4),
        Group(("cifar10-biggan", "cifar10-biggan-cr", "cifar10-biggan-bcr"), "fast,fast+graphs", 64, 3, 4),
        Group(("cifar10-dcgan-none", "cifar10-sngan"), "plain,fast,fast+graphs", 64, 3, 8),
        Group(("cifar10-biggan-diffaugment100", "cifar10-logan"), "fast,fast+graphs", 64, 3, 4),
        Group(("cifar10-stylegan2",), "plain,fast,fast+graphs", 64, 3, 16),
    ),
}
"""Rows of results/speed.csv for a kind of machine: a CPU's, 33 minutes on two quiet cores, or a GPU's, those first that
have a goal."""


@dataclass(frozen=True)
class Job:
    """One process: a preset (or a peer's configuration) in one mode."""

    preset: str
    mode: str
    batch: int
    device: str
    overrides: tuple[str, ...]
    source: str = ""

    def build(self) -> tuple[Step, Step, int, int]:
        """D's phases of an iteration, G's, the real images that D sees in one, and after how many it has its pace."""
        if self.source and "malloc" in self.mode:
            keep_freed_memory()
        if self.preset in TRANSLATIONS:
            from peers.translation import translation_step

            step = translation_step(Path(self.source), self.preset, batch=self.batch, size=256)
            return (lambda: None), step, self.batch, 1
        if self.mode in PEER_MODES:
            from peers.studiogan import studiogan_step

            *steps, updates = studiogan_step(
                Path(self.source), self.preset, batch=self.batch, device=self.device, amp="amp" in self.mode
            )
            d, g = (rounded(step, self.device) if "bf16" in self.mode else step for step in steps)
            return d, g, updates * self.batch, 1
        config = self.config()
        device = torch.device(self.device)
        prepare(device, tf32=config.train.tf32, autotune=config.train.autotune)
        state = build_state(task_of(config), synthetic(config, self.device), device)
        updates = config.train.phases.count("D")
        # A lazy phase is recorded when it has come so often.
        warm_up = (
            1 if state.execution.graphs is None else WARM_UP * max(term.every for term in state.objective.terms) + 2
        )

        @building()
        def d() -> None:
            for _ in range(updates):
                run_phase(state, "D")

        @building()
        def g() -> None:
            run_phase(state, "G")
            state.step += 1

        return d, g, updates * self.batch, warm_up

    def config(self) -> configuration.Config:
        settings = [f"train.{key}={value}" for key, value in MODES[self.mode].items()]
        whole = [f"train.batch_size={self.batch}", "train.accumulate=1", f"train.device={self.device}"]
        return configuration.load(self.preset, [*whole, *settings, *self.overrides])

    def flop(self) -> int:
        """Of an iteration, foreseen: operators of compiled networks are not seen by a counter."""
        config = self.config()
        eager = config.train.model_copy(update={"winograd": False, "precision": "float32"})
        config = config.model_copy(update={"train": eager})
        return estimate_cost(config, synthetic(config, "cpu"), torch.device("cpu")).flop


def rounded(step: Step, device: str) -> Step:
    """The step under bfloat16 autocast."""

    def run() -> None:
        with torch.autocast(device, torch.bfloat16):
            step()

    return run


def synthetic(config: configuration.Config, device: str) -> ImageSet | PairSet:
    """Random images of the preset's shape on the device, of ten classes or two domains."""
    if config.data.domains is not None:
        side = round(config.data.size * (config.data.jitter or 1))  # to be cut
        single = config.model_copy(update={"data": config.data.model_copy(update={"domains": None, "size": side})})
        one, other = (synthetic(single, device) for _ in "ab")
        assert isinstance(one, ImageSet)
        assert isinstance(other, ImageSet)
        aligned = config.data.domains == "paired"
        return PairSet(one, other, size=config.data.size, aligned=aligned)
    side, channels = config.data.size, config.data.channels or 3
    count = max(1024, 2 * config.train.batch_size)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(count, channels, side, side), dtype=np.uint8)
    names = tuple(map(str, range(10))) if config.model.conditional else ()
    labels = rng.integers(10, size=count) if config.model.conditional else None
    source = Source("noise", side, channels, names, labels, images=images)
    return load_images(source, np.arange(count), device=device)


def serve(job: Job, link: Connection) -> None:
    """Builds the job and, on request, warms up; sends its facts, then answers requests for `n` iterations with D's
    seconds and all seconds.
    """
    torch.manual_seed(0)
    d, g, images, warm_up = job.build()
    compiled = "compile" in job.mode
    flop = job.flop() if compiled else 0
    link.recv()
    with nullcontext() if compiled else Arithmetic() as counter:
        d()
        g()
    for _ in range(warm_up - 1):
        d()
        g()
    link.send({"images": images, "flop": counter.flop if counter is not None else flop})
    while (count := link.recv()) > 0:
        gc.collect()
        times = [0.0, 0.0]
        for part, work in enumerate((d, g) * count):
            synchronise(job.device)
            began = time.perf_counter()
            work()
            synchronise(job.device)
            times[part % 2] += time.perf_counter() - began
        link.send((times[0], sum(times)))
    rounded_to = "bfloat16" if "bf16" in job.mode else MODES.get(job.mode, {}).get("precision", "float32")
    if job.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    link.send({"peak": peak, "reachable": reachable(job.device, getattr(torch, rounded_to))})


def measure(jobs: list[Job], rounds: int, steps: int) -> list[dict[str, Any]]:
    """One row per job; none for a job whose process ends early, which prints the reason."""
    context = multiprocessing.get_context("spawn")
    runs = []
    for job in jobs:
        link, theirs = context.Pipe()
        process = context.Process(target=serve, args=(job, theirs), daemon=True)
        process.start()
        theirs.close()
        runs.append(Run(job, link, process))
    for run in runs:
        run.facts = run.ask(0) or {}
        print(f"{'ready' if run.facts else 'FAILED'}       {run}", flush=True)
    for round_ in range(rounds):
        for run in runs:
            if seconds := run.ask(steps):
                run.seconds.append([value / steps for value in seconds])
                rate = run.facts["images"] / run.seconds[-1][1]
                print(f"round {round_ + 1}/{rounds}   {run}: {rate:.1f} images/s", flush=True)
    return [row for run in runs if (row := run.row())]


@dataclass
class Run:
    """A job's process. seconds: of D's phases and of all, of an iteration, round by round."""

    job: Job
    link: Connection
    process: BaseProcess
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: list[list[float]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.job.preset} {self.job.mode}"

    def ask(self, request: int) -> Any:
        """The answer, None if there is no process any more."""
        try:
            self.link.send(request)
            return self.link.recv()
        except (EOFError, OSError):
            return None

    def row(self) -> dict[str, Any]:
        """Ends the process; empty if it ended before."""
        end = self.ask(0)
        self.process.join()
        if end is None or not self.seconds:
            return {}
        job, flop, images = self.job, self.facts["flop"], self.facts["images"]
        of_d, whole = zip(*self.seconds, strict=True)
        rates = sorted(images / value for value in whole)
        return {
            "preset": _named(job),
            "mode": job.mode,
            "batch": job.batch,
            "rounds": len(rates),
            "D_images_per_s": round(images / median(of_d), 2)
            if job.preset not in TRANSLATIONS
            else "",  # one call does both
            "images_per_s": round(median(rates), 2),
            "slowest": round(rates[0], 2),
            "quickest": round(rates[-1], 2),
            "peak_MiB": round(end["peak"]),
            "GFLOP": round(flop / 1e9, 1),
            "of_reachable": round(flop / median(whole) / end["reachable"], 3),
        }


def _named(job: Job) -> str:
    if not job.source:
        return Path(job.preset).stem
    return f"{job.preset}, the authors' step" if job.preset in TRANSLATIONS else f"StudioGAN {job.preset}"


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", help="presets or YAML files")
    parser.add_argument("--suite", choices=SUITES, help="in place of presets: every row for such a machine")
    parser.add_argument("--modes", default="plain,fast", help=f"of {', '.join(MODES)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="overrides for all presets")
    parser.add_argument("--batch", type=int, help="images  [default: 32, or as the suite says]")
    parser.add_argument("--rounds", type=int, help="[default: 3, or as the suite says]")
    parser.add_argument("--steps", type=int, help="iterations a round  [default: 1, or as the suite says]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--studiogan", default="", help="a checkout of PyTorch-StudioGAN")
    parser.add_argument(
        "--translations", default="", help="a folder with pix2pix's and CSGAN's, see peers/translation.py"
    )
    parser.add_argument("--peer-config", action="append", default=[], help="below its src/configs")
    parser.add_argument("--peer-modes", default="peer,peer+malloc", help=f"of {', '.join(PEER_MODES)}")
    parser.add_argument("--out", type=Path, default=Path("results/speed.csv"), help="rows are appended")
    arguments = parser.parse_args()
    sizes = {key: value for key in ("batch", "rounds", "steps") if (value := getattr(arguments, key)) is not None}
    if arguments.suite:
        groups = [replace(group, **sizes) for group in SUITES[arguments.suite]]
    else:
        peers = tuple(arguments.peer_config)
        groups = [
            Group(tuple(arguments.presets), arguments.modes, **sizes, peers=peers, peer_modes=arguments.peer_modes)
        ]
    for group in groups:
        jobs = group.jobs(arguments.device, tuple(arguments.set), arguments.studiogan, arguments.translations)
        if rows := measure(jobs, group.rounds, group.steps):
            append(arguments.out, rows, arguments.device)


def append(path: Path, rows: list[dict[str, Any]], device: str) -> None:
    """Adds rows to a CSV file, with their origin."""
    about = {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": machine(device),
        "torch": torch.__version__,
    }
    new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*about, *rows[0]])
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow(about | row)
            print({key: row[key] for key in ("preset", "mode", "images_per_s", "peak_MiB", "GFLOP", "of_reachable")})


if __name__ == "__main__":
    main()
