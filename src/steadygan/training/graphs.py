"""Execution modes of phases: eager, with compiled networks, or recorded once as CUDA graphs and replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from steadygan.config import TrainConfig
from steadygan.errors import UserError
from steadygan.objective.batch import View
from steadygan.objective.terms import Term

Values = dict[str, Tensor]
Given = dict[View, tuple[Tensor, Tensor | None]]
MicroBatch = tuple[Given, int]
"""The inputs of a batch, and its number of samples."""
Update = Callable[[Sequence[MicroBatch]], Values]
Capture = Callable[[Callable[[], Values]], Callable[[], Values]]

WARM_UP = 3
MOST_KEYS = 64


class Mode(NamedTuple):
    """The chosen mode and its description."""

    compiled: bool
    graphs: bool
    reason: str


def choose_mode(train: TrainConfig, terms: Iterable[Term], device: torch.device, processes: int = 1) -> Mode:
    """Chooses the fastest requested mode that is correct for the terms in use.

    Args:
        train: the section of the configuration.
        terms: of the objective.
        device: the device that trains.
        processes: number of training processes.
    """
    twice = sorted({term.name for term in terms if term.grads})
    networks = "networks compiled" if train.compile else "eager"
    if train.compile and twice:
        networks += f", eager where gradients are differentiated ({', '.join(twice)})"
    if not train.cuda_graphs:
        return Mode(train.compile, False, networks)
    if obstacle := _unrecordable(train, device, processes):
        return Mode(train.compile, False, f"{networks}; no CUDA graphs: {obstacle}")
    return Mode(train.compile, True, f"{networks}; each phase a CUDA graph after {WARM_UP} eager warm-up updates")


def _unrecordable(train: TrainConfig, device: torch.device, processes: int) -> str:
    """The reason why phases cannot be recorded; empty if they can."""
    if device.type != "cuda":
        return f"they need a CUDA device, this is {device.type}"
    if processes > 1:
        return "communication between processes is not recorded"
    if train.recompute:
        return "train.recompute saves random states, which a graph cannot"
    if train.instruments_every:
        return "train.instruments_every reads gradients, which a graph does not expose"
    return ""


class Graphs:
    """Runs the updates of phases: records each once, then replays it on further batches.

    An update is recorded once its key has run `WARM_UP` times eagerly, as ordinary training. The key must hold
    everything that a recording bakes in: the player, the live terms, their factors. A replay reads its own buffers,
    into which the batch is copied, and returns copies of its values.

    Args:
        capture: turns a function into a replay; tests pass a substitute.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._aside = torch.cuda.Stream() if torch.cuda.is_available() else None
        self.clear()

    def clear(self) -> None:
        """Drops every recording. Call it after replacing tensors that a recording reads."""
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[list[MicroBatch], Callable[[], Values]]] = {}

    def run(self, key: Hashable, update: Update, batches: Sequence[MicroBatch]) -> Values:
        """Runs or replays `update(batches)` and returns its result."""
        if key not in self._recorded:
            if self._seen[key] < WARM_UP:
                if len(self._seen) > MOST_KEYS:  # a factor that changes every step creates keys without end
                    self._seen.clear()
                self._seen[key] += 1
                return self._warm_up(lambda: update(batches))
            buffers = [(_cloned(given), size) for given, size in batches]
            self._recorded[key] = buffers, self._capture(lambda: update(buffers))
        buffers, replay = self._recorded[key]
        for (buffer, _), (given, _) in zip(buffers, batches, strict=True):
            for view, pair in given.items():
                for target, source in zip(buffer[view], pair, strict=True):
                    if target is not None and source is not None:
                        target.copy_(source)
        return {name: value.clone() for name, value in replay().items()}

    def _warm_up(self, work: Callable[[], Values]) -> Values:
        """Runs a warm-up update on a side stream, as CUDA graphs require; on a CPU it just runs.

        All share one stream, because the allocator reuses freed memory only within a stream.
        """
        if self._aside is None:
            return work()
        main = torch.cuda.current_stream()
        self._aside.wait_stream(main)
        with torch.cuda.stream(self._aside):
            values = work()
        main.wait_stream(self._aside)
        return values


def _cloned(given: Given) -> Given:
    return {view: (x.clone(), None if y is None else y.clone()) for view, (x, y) in given.items()}


def cuda_capture(generator: torch.Generator) -> Capture:
    """Records CUDA graphs in one memory pool; random numbers advance from replay to replay.

    Raises UserError for an update that cannot be recorded.
    """
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], Values]) -> Callable[[], Values]:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, pool=pool):
                values = work()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"train.cuda_graphs: a phase cannot be recorded ({reason}); set it to false") from error

        def replay() -> Values:
            graph.replay()
            return values

        return replay

    return capture
