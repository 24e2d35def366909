"""State that a term or a view keeps from phase to phase."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from steadygan.parallel.share import Sharing


class Average(Sharing, nn.Module):
    """Exponential moving average of a scalar, a mean over the batch: mean ← decay·mean + (1 - decay)·value.

    Non-finite values are ignored, as their phase is skipped.

    Args:
        decay: in [0, 1), per call, i.e. per phase and micro-batch.
        initial: the mean before the first value; None: start with that value.
    """

    mean: Tensor
    started: Tensor

    def __init__(self, decay: float, initial: float | None = None) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.tensor(initial or 0.0))
        self.register_buffer("started", torch.tensor(initial is not None))

    def forward(self, value: Tensor, *, through: bool = False) -> Tensor:
        """Updates the mean with a scalar and returns it.

        through: keep the graph of the value, which has weight 1 - decay; otherwise the result has no graph.
        """
        value = self.share.mean(value.to(self.mean.dtype))
        with torch.no_grad():
            finite = value.isfinite()
            moved = torch.where(self.started, value.lerp(self.mean, self.decay), value)
            self.mean.copy_(torch.where(finite, moved, self.mean))
            self.started.logical_or_(finite)
            mean = self.mean.clone()
        return mean + (1 - self.decay) * (value - value.detach()) if through else mean


class History(nn.Module):
    """The history buffer of fakes (Shrivastava et al., CVPR 2017, §2.3), with the rule of CycleGAN's code.

    Until it holds `size` images, each fake is stored and returned. Then each fake, in order, is returned with
    probability ½; otherwise it replaces a random stored one, which is returned instead. (The paper replaces half of a
    batch.) Non-finite fakes are returned but not stored, as their phase is skipped.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        # The image size is known from the first image, or from a checkpoint.
        self.register_buffer("images", torch.zeros(size, 0), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64), persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x: (N, …), generator: on its device. Returns (N, …) without a graph; does not synchronise with the device."""
        if self.images.shape[1:] != x.shape[1:]:
            self.images = x.new_zeros(self.size, *x.shape[1:])
        chosen = []
        for new in x.detach():
            filling = self.count < self.size
            drawn = torch.randint(self.size, (), generator=generator, device=x.device)
            swapped = torch.rand((), generator=generator, device=x.device) < 0.5
            place = torch.where(filling, self.count, drawn).view(1)
            old = self.images.index_select(0, place)[0]
            chosen.append(torch.where(~filling & swapped, old, new))
            kept = (filling | swapped) & new.isfinite().all()
            self.images.index_copy_(0, place, torch.where(kept, new, old)[None])
            self.count += filling & kept
        return torch.stack(chosen)

    def get_extra_state(self) -> dict[str, Any]:
        """The images and their number."""
        return {"images": self.images, "count": self.count}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        images, count = state["images"], int(state["count"])
        if len(images) != self.size:
            raise ValueError(f"the history had {len(images)} images and now has {self.size}")
        if not images.is_floating_point() or images.layout is not torch.strided or not 0 <= count <= self.size:
            raise ValueError(f"the history holds {images.dtype} {list(images.shape)}, {count} of them in use")
        self.images = images.to(self.count.device).contiguous().clone()
        self.count.fill_(count)
