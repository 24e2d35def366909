"""Measures the training speed of this machine with a few real steps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from steadygan.build import build_state, resolve
from steadygan.config import Config
from steadygan.data.images import load_images
from steadygan.data.source import Source
from steadygan.estimate import estimate_cost, seconds_per_step
from steadygan.tasks.choice import task_of

SECONDS = 1.0
"""Seconds per measurement, which takes at least three steps."""
GAIN = 1.1
"""Minimum speed-up for using more threads."""


class Speed(NamedTuple):
    """Speed of a configuration on this machine: seconds per step, and threads (None if irrelevant)."""

    seconds: float
    threads: int | None


@dataclass
class Machine:
    """Measures steps on `device`, once per configuration; the images are noise, as their content does not affect
    speed."""

    device: torch.device
    classes: int
    channels: int
    threads: int | None = None
    _known: dict[str, float] = field(default_factory=dict)

    def seconds(self, config: Config) -> float:
        """Seconds per training step of `config`, with the threads from `choose_threads`."""
        key = config.model_dump_json(include={"data", "model", "objective", "augment", "train"})
        if key not in self._known:
            self._known[key] = self._measure(config, self.threads)
        return self._known[key]

    def choose_threads(self, config: Config) -> dict[int, float]:
        """Times one thread against all cores on a CPU and keeps the faster: {threads: seconds per step}.

        On a busy machine threads wait for each other: two threads were four times slower than one.
        """
        if self.device.type != "cpu":
            return {}
        counts = sorted({1, max(1, cores() // 2), cores()})
        found = {count: self._measure(config, count) for count in counts}
        best = counts[0]
        for count in counts[1:]:
            if found[best] > GAIN * found[count]:
                best = count
        self.threads = best
        return found

    def memory(self, config: Config, images: int) -> int:
        """Peak bytes of a step, with this many training images in memory."""
        cost = estimate_cost(config, load_images(self._noise(config), np.arange(config.train.batch)), self.device)
        return cost.peak + images * config.data.size**2 * self.channels

    def _measure(self, config: Config, threads: int | None) -> float:
        before = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            with torch.random.fork_rng(devices=[]):
                source = self._noise(config)
                images = load_images(source, np.arange(len(source)), device=self.device)
                state = build_state(task_of(config), images, self.device)
                return seconds_per_step(state, warm_up=1, budget=SECONDS)
        finally:
            torch.set_num_threads(before)

    def _noise(self, config: Config) -> Source:
        size, count = config.data.size, 2 * config.train.batch
        rng = np.random.default_rng(0)
        images = rng.integers(256, size=(count, self.channels, size, size), dtype=np.uint8)
        if not self.classes:
            return Source("noise", size, self.channels, images=images)
        names = tuple(map(str, range(self.classes)))
        return Source("noise", size, self.channels, names, np.arange(count) % self.classes, images=images)


def cores() -> int:
    """Number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(config: Config, device: torch.device, *, classes: int, channels: int) -> Machine:
    """A machine with the number of threads chosen by timing `config`.

    Args:
        config: the configuration to time.
        device: the device that trains.
        classes: number of classes of the images; 0: none.
        channels: 1 or 3.
    """
    found = Machine(device, classes, channels)
    found.choose_threads(resolve(config))
    return found
