"""The processes of one run."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from steadygan.errors import LostProcess, SaidElsewhere, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steadygan.parallel.share import Share

T = TypeVar("T")
START_SECONDS = 1800
"""Seconds that a process waits for others to load their images."""


class Replicas:
    """This process, `rank` of `size`, each on its own device.

    With size 1 every method runs locally without communication. Otherwise all processes must call the same methods in
    the same order.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.helper: Callable[[int, Tensor | None, int, Tensor], Tensor] | None = None
        self._share: Share | None = None
        self._control: Any = None
        self._patience = float(START_SECONDS)
        self._talking = threading.Lock()

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints (rank 0)."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This process's part of every batch, once connected."""
        from steadygan.parallel.share import WHOLE

        return self._share or WHOLE

    def device_name(self, asked: str) -> str:
        """The device of this process for `train.device`: with several processes, the GPU of its local rank.

        Raises:
            UserError: the machine has too few GPUs, or one device is set for several processes.
        """
        if self.size == 1 or asked == "cpu":
            return asked
        import torch

        if asked not in ("auto", "cuda"):
            raise UserError(f"train.device={asked} is one device for {self.size} processes; set it to auto")
        if asked == "auto" and not torch.cuda.is_available():
            return "cpu"
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise UserError(
                f"{os.environ.get('LOCAL_WORLD_SIZE', local + 1)} processes on {socket.gethostname()}, which has "
                f"{there} GPUs; lower --nproc-per-node, or set train.device=cpu"
            )
        return f"cuda:{local}"

    def connect(self, device: torch.device, seconds: float) -> None:
        """Opens the connections for collective operations, with a timeout in seconds."""
        if self.size == 1:
            return
        import torch.distributed as dist

        from steadygan.parallel.share import Share, reaching

        self._patience = seconds
        with reaching():
            limit = timedelta(seconds=seconds)
            self._control = dist.new_group(backend="gloo", timeout=limit)
            data = dist.new_group(backend="nccl" if device.type == "cuda" else "gloo", timeout=limit)
        assert isinstance(data, dist.ProcessGroup)
        self._share = Share(self.rank, self.size, data)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Context manager: a barrier at exit.

        A `UserError` in one process is raised in all; the lowest failed rank reports it. No communication is allowed
        inside.
        """
        error: UserError | None = None
        try:
            yield
        except UserError as raised:
            error = raised
        if self.size == 1:
            if error is not None:
                raise error
            return
        said = self._gather_objects(None if error is None else str(error))
        failed = [rank for rank, text in enumerate(said) if text is not None]
        if failed and failed[0] != self.rank:
            raise SaidElsewhere(said[failed[0]], failed[0])
        if error is not None:
            where = "" if len(failed) == self.size else f"process {self.rank} on {socket.gethostname()}: "
            raise UserError(f"{where}{error}") from error

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raises `UserError` if values that must be the same in all processes differ, naming them."""
        if self.size == 1:
            return
        everyones = self._gather_objects(dict(facts))
        with self.together():
            for what, mine in facts.items():
                if mine != everyones[0][what]:
                    raise UserError(
                        f"the {what} of this process is {mine}, that of process 0 is {everyones[0][what]}; all "
                        "processes need the same program, the same command and the same files"
                    )

    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Broadcasts the tensors of rank 0, as initial weights may differ in the last bit between machines."""
        if self.size == 1:
            return
        import torch.distributed as dist

        from steadygan.parallel.share import reaching

        with reaching():
            for tensor in tensors:
                whole = tensor.contiguous()
                dist.broadcast(whole, 0, group=self.share.group)
                tensor.copy_(whole)

    def any(self, flag: object) -> bool:
        """Whether the flag is true in any process."""
        if self.size == 1:
            return bool(flag)
        import torch
        import torch.distributed as dist

        from steadygan.parallel.share import reaching

        raised = torch.tensor(bool(flag), dtype=torch.uint8)
        with reaching():
            dist.all_reduce(raised, dist.ReduceOp.MAX, group=self._control)
        return bool(raised)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Averages scalars by name over processes; synchronises with the device."""
        if self.size == 1 or not values:
            return {name: float(value) for name, value in values.items()}
        import torch
        import torch.distributed as dist

        from steadygan.parallel.share import reaching

        stacked = torch.stack([value.detach().double() for value in values.values()]).cpu()
        with reaching():
            dist.all_reduce(stacked, group=self._control)
        return dict(zip(values, (stacked / self.size).tolist(), strict=True))

    def lead(self, work: Callable[[], T]) -> T:
        """Runs `work` in rank 0 and returns its result in all processes; the others wait and generate `fakes` on
        request.

        There is no timeout, as rank 0 sends heartbeats. An error in it is raised in all.

        Args:
            work: returns a plain value or a tensor (`parallel.messages`).
        """
        if self.size == 1:
            return work()
        if not self.first:
            return self._follow()
        done = threading.Event()
        alive = threading.Thread(target=self._show_life, args=(done,), daemon=True)
        alive.start()
        try:
            value = work()
        except BaseException as error:
            with suppress(LostProcess):  # then the others have already seen the error
                self._finish(done, alive, ("failed", str(error)))
            raise
        self._finish(done, alive, ("done", value))
        return value

    def fakes(self, num: int, labels: Tensor | None, seed: int, part: slice) -> Tensor:
        """Images of `helper`, generated by all processes together; called by rank 0 inside `lead`.

        Args:
            num: number of images determined by the seed.
            labels: (num,) classes; None: unconditional.
            seed: seed of the images.
            part: indices of the images to generate.

        Returns:
            (P, C, H, W).
        """
        import torch
        import torch.distributed as dist

        from steadygan.parallel.share import reaching

        assert self.helper is not None
        wanted = torch.arange(num)[part]
        if self.size == 1:
            return self.helper(num, labels, seed, wanted)
        with self._talking:
            self._broadcast(("help", (num, labels, seed, wanted)))
            mine = self._mine(num, labels, seed, wanted)
            everyones = [torch.empty_like(mine) for _ in range(self.size)]
            with reaching():
                dist.gather(mine, everyones, dst=0, group=self._control)
        return torch.cat(everyones)[: len(wanted)]

    def _mine(self, num: int, labels: Tensor | None, seed: int, wanted: Tensor) -> Tensor:
        """This process's equal part of the images; the last part may wrap around."""
        import torch

        assert self.helper is not None
        count = -(-len(wanted) // self.size)
        share = (torch.arange(count) + self.rank * count) % len(wanted)
        return self.helper(num, labels, seed, wanted[share])

    def _follow(self) -> Any:
        import torch.distributed as dist

        from steadygan.parallel.share import reaching

        while True:
            kind, value = self._broadcast(None)
            if kind == "done":
                return value
            if kind == "failed":
                raise SaidElsewhere(value, 0)
            if kind == "help":
                mine = self._mine(*value)
                with reaching():
                    dist.gather(mine, None, dst=0, group=self._control)

    def _show_life(self, done: threading.Event) -> None:
        while not done.wait(self._patience / 4):
            with self._talking, suppress(LostProcess):  # the leader's next message will fail as well
                self._broadcast(("working", None))

    def _finish(self, done: threading.Event, alive: threading.Thread, message: tuple[str, Any]) -> None:
        done.set()
        alive.join()
        self._broadcast(message)

    def _broadcast(self, message: Any) -> Any:
        from steadygan.parallel.messages import broadcast
        from steadygan.parallel.share import reaching

        with reaching():
            return broadcast(message, self._control)

    def _gather_objects(self, mine: Any) -> list[Any]:
        from steadygan.parallel.messages import gather
        from steadygan.parallel.share import reaching

        with reaching():
            return gather(mine, self._control)
