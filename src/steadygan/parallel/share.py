"""A process's part of every batch; without other processes, the whole.

N processes run the same experiment as one. Each draws the random numbers of the *whole* batch from a common stream and
keeps the rows of its own images (`rows`), and batch statistics are computed over all processes (`var_mean`, `mean`,
`gather`). These are differentiable any number of times: LOGAN, path length and gradient penalties differentiate twice
through a generator's batch norms. Losses summed over the batch need no exchange, as the step averages gradients.
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
"""Gradient elements per all-reduce (256 MiB of float32)."""


@dataclass(frozen=True, eq=False)
class Share:
    """Part `rank` of `size` equal parts of every batch; `group` is the process group of all parts."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None

    def rows(
        self, draw: Callable[..., Tensor], shape: Sequence[int], *, dim: int = 0, views: int = 1, **options: Any
    ) -> Tensor:
        """Draws random numbers for the whole batch and returns this part's rows.

        Args:
            draw: e.g. `torch.rand`; called with a shape and `options`.
            shape: shape of this part's numbers.
            dim: the dimension that counts the images.
            views: number of equal consecutive batches in the batch, each of which is split.
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
        """The mean of x over processes."""
        return x if self.size == 1 else self.gather(x).mean(0)

    def var_mean(self, x: Tensor, dim: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Biased variance and mean over the dimensions `dim` and all processes."""
        var, mean = torch.var_mean(x, tuple(dim), correction=0)
        if self.size == 1:
            return var, mean
        variances, means = self.gather(torch.stack((var, mean))).unbind(1)
        return variances.mean(0) + means.var(0, correction=0), means.mean(0)

    @torch.no_grad()
    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Averages tensors over processes in place, bit-identically on each, with a few flat all-reduces."""
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
    """A random generator with the same seed in all processes, from which `rows` draws one part's rows."""

    share: Share = WHOLE


def stream(device: torch.device, share: Share) -> torch.Generator:
    """A generator on `device` for this part's draws."""
    if share.size == 1:
        return torch.Generator(device)
    generator = Stream(device)
    generator.share = share
    return generator


def share_of(generator: torch.Generator) -> Share:
    """The part whose rows this generator draws; the whole batch if it is not a `Stream`."""
    return generator.share if isinstance(generator, Stream) else WHOLE


def rows(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator, *, dim: int = 0, **options: Any
) -> Tensor:
    """Random numbers for a batch, e.g. `rows(torch.rand, (n, 1), generator)`.

    All random numbers of a batch are drawn here, so that processes get different rows of the same draw.

    Args:
        draw: e.g. `torch.rand`; called with a shape, the generator, its device and `options`.
        shape: shape of this process's numbers.
        generator: the source of randomness, the same in all processes.
        dim: the dimension that counts the images.
        options: of `draw`.
    """
    share = share_of(generator)
    return share.rows(draw, shape, dim=dim, generator=generator, device=generator.device, **options)


class Sharing:
    """A layer or term whose result depends on the whole batch.

    Attributes:
        share: this process's part.
    """

    share: Share = WHOLE


def set_share(module: nn.Module, share: Share) -> None:
    """Sets `share` of every `Sharing` in `module`."""
    for part in module.modules():
        if isinstance(part, Sharing):
            part.share = share


@contextmanager
def unshared(module: nn.Module) -> Iterator[None]:
    """Context manager: `module` treats its input as a local batch, independent of other processes."""
    shares = [(part, part.share) for part in module.modules() if isinstance(part, Sharing)]
    set_share(module, WHOLE)
    try:
        yield
    finally:
        for part, share in shares:
            part.share = share


@contextmanager
def reaching() -> Iterator[None]:
    """Context manager: turns a failed exchange into a `LostProcess`."""
    try:
        yield
    except RuntimeError as error:
        # Without torch's source location and advice.
        reason = re.sub(r"^\[\S+\] ", "", str(error).strip().splitlines()[0]).split(". ")[0]
        raise LostProcess(f"another process of this run ended or no longer answers ({reason})") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Groups tensors, in order and by type, into buckets."""
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


# A gather copies rank r's tensor to all processes, so its gradient is the sum of all processes' gradients, and vice
# versa. Each is the other's derivative, to any order.
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
