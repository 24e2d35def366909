"""How phases are carried out: as they come, with compiled networks, or recorded once as CUDA graphs and replayed."""

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
"""The inputs of a batch, and the number of samples."""
Update = Callable[[Sequence[MicroBatch]], Values]
Capture = Callable[[Callable[[], Values]], Callable[[], Values]]

WARM_UP = 3
MOST_KEYS = 64


class Mode(NamedTuple):
    """The chosen mode, with the reason in words."""

    compiled: bool
    graphs: bool
    reason: str


def choose_mode(train: TrainConfig, terms: Iterable[Term], device: torch.device, processes: int = 1) -> Mode:
    """The fastest of the requested modes that is correct for the terms in use."""
    twice = sorted({term.name for term in terms if term.grads})
    networks = "networks compiled" if train.compile else "eager"
    if train.compile and twice:
        networks += f", eager where gradients are differentiated ({', '.join(twice)})"
    if not train.cuda_graphs:
        return Mode(train.compile, False, networks)
    if obstacle := _unrecordable(train, device, processes):
        return Mode(train.compile, False, f"{networks}; no CUDA graphs: {obstacle}")
    return Mode(train.compile, True, f"{networks}; each phase a CUDA graph, once it has run {WARM_UP} times as it is")


def _unrecordable(train: TrainConfig, device: torch.device, processes: int) -> str:
    """Why phases cannot be recorded, if so."""
    if device.type != "cuda":
        return f"they need a CUDA device, this is {device.type}"
    if processes > 1:
        return "exchanges between processes are not recorded"
    if train.recompute:
        return "train.recompute saves random states, which a recording cannot"
    if train.instruments_every:
        return "train.instruments_every reads gradients, which a recording keeps to itself"
    return ""


class Graphs:
    """Runs the updates of phases, each recorded once and then replayed on other batches.

    An update whose key has been seen `WARM_UP` times, each a step of training like any other, is recorded: a key must
    hold everything that a recording keeps for good (the player, the live terms, their factors). A replay reads buffers
    of its own, into which the batch is copied, and returns copies of its values. capture: makes a replay of a function;
    another than CUDA's is for tests.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._aside = torch.cuda.Stream() if torch.cuda.is_available() else None
        self.clear()

    def clear(self) -> None:
        """Forgets every recording: whoever puts other tensors in place of those it reads must call this."""
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, tuple[list[MicroBatch], Callable[[], Values]]] = {}

    def run(self, key: Hashable, update: Update, batches: Sequence[MicroBatch]) -> Values:
        """Runs `update(batches)` and returns its result."""
        if key not in self._recorded:
            if self._seen[key] < WARM_UP:
                if len(self._seen) > MOST_KEYS:  # a factor that moves with every step makes keys without end
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
        """Warms a phase up on a side stream, as CUDA graphs require; on a CPU it simply runs.

        It is the same stream for all: the allocator keeps the memory freed in one stream for that one.
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
    """Records CUDA graphs in one pool of memory; random numbers advance from replay to replay.

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
