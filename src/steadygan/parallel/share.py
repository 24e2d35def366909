"""One process's share of every batch, when several train together; alone, its share is the whole.

N processes are the same experiment as one. Each draws the random numbers of the *whole* batch from one common stream
and keeps the rows of its own images (`rows`), and every statistic of a batch is taken over all processes (`var_mean`,
`mean`, `gather`). These are differentiable as often as wanted: LOGAN, path length and gradient penalties differentiate
through a generator's batch norms twice. What is summed over the batch is left to the step, which averages gradients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function

from steadygan.errors import LostProcess

BUCKET = 1 << 26
"""Gradient elements of one exchange (256 MiB of float32)."""


@dataclass(frozen=True, eq=False)
class Share:
    """Part number `rank` of `size` equal parts of every batch; `group` holds the processes that have the others."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def rows(
        self, draw: Callable[..., Tensor], shape: Sequence[int], *, dim: int = 0, views: int = 1, **options: Any
    ) -> Tensor:
        """Random numbers for this share: its rows of what is drawn for the whole batch.

        Args:
            draw: such as `torch.rand`; called with a shape and `options`.
            shape: of this share's numbers.
            dim: the dimension that counts the images.
            views: number of equal consecutive batches in the batch; this is a share of each.
            options: of `draw`.
        """
        if self.size == 1:
            return draw(tuple(shape), **options)
        count = shape[dim] // views
        whole = draw((*shape[:dim], views * self.size * count, *shape[dim + 1 :]), **options)
        return whole.unflatten(dim, (views, self.size, count)).select(dim + 1, self.rank).flatten(dim, dim + 1)

    def gather(self, x: Tensor) -> Tensor:
        """The tensors of all processes, (size, *x.shape), in order of rank."""
        return x[None] if self.size == 1 else _Gather.apply(x, self)

    def mean(self, x: Tensor) -> Tensor:
        """The mean over processes, shaped like x."""
        return x if self.size == 1 else self.gather(x).mean(0)

    def var_mean(self, x: Tensor, dim: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Biased variance and mean over the dimensions `dim` of the x of all processes."""
        var, mean = torch.var_mean(x, tuple(dim), correction=0)
        if self.size == 1:
            return var, mean
        variances, means = self.gather(torch.stack((var, mean))).unbind(1)
        return variances.mean(0) + means.var(0, correction=0), means.mean(0)

    @torch.no_grad()
    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replaces every tensor by its mean over processes, the same bits on each, in a few flat exchanges."""
        if self.size == 1:
            return
        pending = []
        with reaching():
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                pending.append((bucket, flat, dist.all_reduce(flat, group=self.group, async_op=True)))
            for bucket, flat, work in pending:
                work.wait()
                parts = flat.div_(self.size).split([tensor.numel() for tensor in bucket])
                torch._foreach_copy_(bucket, [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)])


WHOLE = Share()


class Stream(torch.Generator):
    """A random generator that all processes seed alike, from which `rows` draws the rows of one share."""

    share: Share = WHOLE


def stream(device: torch.device, share: Share) -> torch.Generator:
    """A generator on `device` for draws of this share."""
    if share.size == 1:
        return torch.Generator(device)
    generator = Stream(device)
    generator.share = share
    return generator


def share_of(generator: torch.Generator) -> Share:
    """The share whose rows this generator draws; the whole batch if it is not a `Stream`."""
    return generator.share if isinstance(generator, Stream) else WHOLE


def rows(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator, *, dim: int = 0, **options: Any
) -> Tensor:
    """Random numbers for a batch, e.g. `rows(torch.rand, (n, 1), generator)`.

    Every draw for a batch goes through here, so that several processes have different rows of the same draw.

    Args:
        draw: such as `torch.rand`; called with a shape, the generator, its device and `options`.
        shape: of this process's numbers.
        generator: the source of randomness, alike in all processes.
        dim: the dimension that counts the images.
        options: of `draw`.
    """
    share = share_of(generator)
    return share.rows(draw, shape, dim=dim, generator=generator, device=generator.device, **options)


class Sharing:
    """A part of a network or term whose result depends on the whole batch; `share`: the part that it sees."""

    share: Share = WHOLE


def set_share(module: nn.Module, share: Share) -> None:
    """Tells every layer and memory in `module` which share of each batch it sees."""
    for part in module.modules():
        if isinstance(part, Sharing):
            part.share = share


@contextmanager
def unshared(module: nn.Module) -> Iterator[None]:
    """A context in which `module` treats its input as a separate batch, independent of other processes."""
    shares = [(part, part.share) for part in module.modules() if isinstance(part, Sharing)]
    set_share(module, WHOLE)
    try:
        yield
    finally:
        for part, share in shares:
            part.share = share


@contextmanager
def reaching() -> Iterator[None]:
    """Turns the failure of an exchange into a `LostProcess`."""
    try:
        yield
    except RuntimeError as error:
        # Without the place in torch's source, and without its advice.
        reason = re.sub(r"^\[\S+\] ", "", str(error).strip().splitlines()[0]).split(". ")[0]
        raise LostProcess(f"another process of this run ended or no longer answers ({reason})") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, by kind, as many at a time as fill a bucket."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        bucket: list[Tensor] = []
        filled = 0
        for tensor in tensors:
            if tensor.dtype == dtype:
                if bucket and filled + tensor.numel() > BUCKET:
                    yield bucket
                    bucket, filled = [], 0
                bucket.append(tensor)
                filled += tensor.numel()
        yield bucket


# A gather copies rank r's tensor to all processes, so that its gradient is the sum of the gradients of all; and the
# other way round. The two are each other's derivative, as often as wanted.
class _Gather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share) -> Tensor:
        ctx.share = share
        out = x.new_empty(share.size * x.numel())
        with reaching():
            dist.all_gather_into_tensor(out, x.contiguous().view(-1), group=share.group)
        return out.view(share.size, *x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradient, ctx.share), None


class _Sum(Function):
    """(size, …) on every process → the sum over processes of slice number `rank`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share) -> Tensor:
        ctx.share = share
        x = x.contiguous().clone()
        with reaching():
            dist.all_reduce(x, group=share.group)
        return x[share.rank].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Gather.apply(gradient, ctx.share), None
