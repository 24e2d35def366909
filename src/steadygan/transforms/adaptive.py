"""How strong an augmentation is, steered by how much D overfits (Karras et al., ADA, NeurIPS 2020, §3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.parallel.share import Sharing
from steadygan.schedules import Schedule, value


class Controller(Sharing, nn.Module):
    """The probability p of an augmentation: fixed, on a schedule, or raised and lowered so that r_t meets a target.

    r_t = E[sign D(x)] over the reals since the last adjustment. After every `interval` images, p moves by
    sign(r_t - target)·images/(1000·kimg) and stays in [0, 1] (the paper's §3.1 and appendix B, whose values are
    target 0.6, kimg 500 and four minibatches). p is a number or a schedule: then it follows that and r_t is only
    watched. None: adaptive, from 0. All of it is on the device and part of every checkpoint.

    p: (); r: (), the last r_t, 0 before there is one.
    """

    p: Tensor
    r: Tensor
    signs: Tensor
    seen: Tensor

    def __init__(
        self, *, target: float = 0.6, kimg: float = 500, interval: int = 256, p: float | Schedule | None = None
    ) -> None:
        super().__init__()
        self.target, self.kimg, self.interval, self.schedule = target, kimg, interval, p
        self.register_buffer("p", torch.tensor(0.0 if p is None else value(p, 0)))
        for name in ("r", "signs", "seen"):
            self.register_buffer(name, torch.tensor(0.0))

    def follow(self, step: int) -> None:
        """Sets p for training step `step`, where it is not adaptive."""
        if self.schedule is not None:
            self.p.fill_(value(self.schedule, step))

    @torch.no_grad()
    def observe(self, margin: Tensor) -> None:
        """Takes in how far D is on the right side with each real; adjusts p when enough were seen.

        margin: (N,), or (N, 1, h, w) of a critic of patches. One that is not a number counts as undecided.
        """
        images = len(margin) * self.share.size
        self.signs += self.share.mean(margin.sign().nan_to_num().mean().to(self.signs.dtype)) * images
        self.seen += images
        due = self.seen >= self.interval
        self.r.copy_(torch.where(due, self.signs / self.seen, self.r))
        if self.schedule is None:
            moved = self.p + (self.r - self.target).sign() * self.seen / (1000 * self.kimg)
            self.p.copy_(torch.where(due, moved, self.p).clamp(0, 1))
        self.signs *= ~due
        self.seen *= ~due
