"""Estimates memory and arithmetic of a step without running one.

One step, of networks with gradients and moments as an earlier step leaves them, runs on fake tensors (shapes without
data), in seconds for networks of any size, while every storage is counted from allocation to release.
"""

from __future__ import annotations

import time
import weakref
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from steadygan.build import build_state
from steadygan.config import Config
from steadygan.data.images import ImageSet
from steadygan.data.pair_images import PairSet
from steadygan.errors import UserError
from steadygan.kernels.compiled import building
from steadygan.kernels.winograd import convolve as winograd
from steadygan.tasks.choice import Task, task_of
from steadygan.training.optimizers import adam
from steadygan.training.state import TrainState
from steadygan.training.step import train_step


class Cost(NamedTuple):
    """The cost of a step with all terms live.

    Bytes on the device: weights of all networks and their average, Adam's moments, images, and the peak including all
    of these.

    Attributes:
        flop: floating-point operations.
    """

    weights: int
    optimisers: int
    images: int
    peak: int
    flop: int


class LiveBytes(TorchDispatchMode):
    """Context manager: counts the bytes of live tensors created by operators: `now` and `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.note(out)
        return out

    def note(self, tensors: Any) -> None:
        """Adds existing tensors, in any nesting."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self._alive:
                storage = tensor.untyped_storage()
                self._alive[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._alive.pop(key)


class Arithmetic(TorchDispatchMode):
    """Context manager: counts the floating-point operations of matrix products and convolutions.

    Unlike torch's `FlopCounterMode`, it does not track modules, which fails for gradients with respect to a leaf.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.flop += round(winograd.stands_for() * formula(*args, **(kwargs or {}), out_val=out))
        return out


@building()
def estimate_cost(config: Config, images: ImageSet | PairSet, device: torch.device) -> Cost:
    """Estimates the cost of a run of `config` on these images and `device`; builds the networks, but no batch.

    Memory of libraries (workspaces, CUDA context, Python: some hundred MiB) and allocator fragmentation are not
    counted. Compilation and CUDA graphs are ignored.
    """
    eager = config.train.model_copy(update={"compile": False, "cuda_graphs": False})
    state = build_state(task_of(config.model_copy(update={"train": eager})), images, device)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, LiveBytes() as live:
        for net in (*state.nets.values(), state.ema.net, *state.memories.values()):
            _make_fake(net, fake)
        live.note(state.weights())
        live.note([memory.state_dict() for memory in state.memories.values()])
        for player, section in (("D", config.optim.d), ("G", config.optim.g)):
            trained = nn.ModuleList(state.nets[name] for name in state.objective.players[player])
            state.optimizers[player] = adam(trained, section)
            state.let_learn(player)
            _as_after_a_step(state.optimizers[player], trained)
        sets = {"a": images.a, "b": images.b} if isinstance(images, PairSet) else {"x": images}
        shape = images.channels, images.size, images.size
        pixels = [
            torch.empty(0 if each.streamed else len(each), *shape, dtype=torch.uint8, device=device)
            for each in sets.values()
        ]
        size = state.loader.batch_size
        y = None if images.labels is None else torch.empty(size, dtype=torch.int64, device=device)
        state.loader.batch = lambda: {  # type: ignore[method-assign]
            domain: (torch.empty(size, *shape, device=device), y) for domain in sets
        }
        live.peak = live.now
        with Arithmetic() as arithmetic:
            train_step(state)
        moments = [optimizer.state_dict()["state"] for optimizer in state.optimizers.values()]
        return Cost(_size(state.weights()), _size(moments), _size(pixels), live.peak, arithmetic.flop)


ROOM = 0.9
"""Fraction of free memory for a chosen batch; the rest is for libraries and fragmentation."""


def fit_batch(
    task: Task, images: ImageSet | PairSet, device: torch.device, free: int, processes: int = 1
) -> tuple[Task, str]:
    """Chooses the batch size of a run with `train.batch_size=auto`.

    It is the largest power of two times `train.accumulate` whose estimated step fits in 90 % of the memory left after
    the images, and for which there are enough images.

    Args:
        task: the run.
        images: the images; they are held in memory.
        device: where the run trains.
        free: bytes of memory that are free there.
        processes: number of training processes.

    Returns:
        The run with a number in place of auto, and the reason; other runs unchanged, and "".

    Raises:
        UserError: there are several processes, or even the smallest batch does not fit.
    """
    config = task.config
    if config.train.batch_size != "auto":
        return task, ""
    if processes > 1:
        raise UserError("train.batch_size=auto is chosen by one process; with several set it to a number")
    known: dict[int, int] = {}

    def of(size: int) -> Config:
        return config.model_copy(update={"train": config.train.model_copy(update={"batch_size": size})})

    def taken(size: int) -> int:
        if size not in known:
            cost = estimate_cost(of(size), images, device)
            known[size] = cost.peak - cost.images
        return known[size]

    sizes = [config.train.accumulate * 2**n for n in range(1, 24) if config.train.accumulate * 2**n <= len(images)]
    if not sizes:
        raise UserError(f"train.batch_size=auto: {len(images)} images are too few; set it to a number")
    first, second = sizes[0], sizes[min(1, len(sizes) - 1)]
    each = (taken(second) - taken(first)) / max(1, second - first)
    room = [size for size in sizes if taken(first) + (size - first) * each <= ROOM * free]
    while room and taken(room[-1]) > ROOM * free:
        room.pop()
    if not room:
        raise UserError(
            f"train.batch_size=auto: a step with {first} images takes {taken(first) / 2**20:,.0f} MiB, and "
            f"{free / 2**20:,.0f} MiB are free on {device}; set train.recompute=true, or lower model.width or data.size"
        )
    size = room[-1]
    bound = f"there are {len(images)} images"
    if size < sizes[-1]:
        bound = f"twice as many would take about {(taken(first) + (2 * size - first) * each) / 2**20:,.0f}"
    mib = [f"{number / 2**20:,.0f}" for number in (taken(size), free)]
    return task_of(of(size)), (
        f"train.batch_size={size}: a step takes {mib[0]} of the {mib[1]} MiB that are free on {device}; {bound}"
    )


def _as_after_a_step(optimizer: Optimizer, trained: nn.Module) -> None:
    """Gives the parameters gradients, which live until the player's next phase, and Adam its moments."""
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def _make_fake(net: nn.Module, fake: FakeTensorMode) -> None:
    """Replaces a network's tensors by fake ones, without data."""
    for module in net.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            table.update({name: fake.from_tensor(value) for name, value in table.items() if value is not None})


def _size(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tree_leaves(tensors) if isinstance(tensor, Tensor))


def seconds_per_step(state: TrainState, *, warm_up: int = 3, budget: float = 5.0) -> float:
    """Measures the median time of a training step for about `budget` seconds, at least three steps; changes the
    state."""
    times: list[float] = []
    for step in range(warm_up + 100):
        began = time.perf_counter()
        values = train_step(state)
        sum(float(value) for value in values.values())  # synchronises with the device
        if step >= warm_up:
            times.append(time.perf_counter() - began)
        if len(times) >= 3 and sum(times) > budget:
            break
    return median(times)
