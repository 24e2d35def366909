"""What adapts to D: a transform that learns from its scores, and how strong an augmentation is.

The probability of ADA and APA is steered by how much D overfits (Karras et al., ADA, NeurIPS 2020, §3.1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from steadygan.parallel.share import Sharing
from steadygan.schedules import Schedule, value


class Adaptive(Sharing, nn.Module):
    """What changes as D learns: a transform of what D sees (`augment.transforms`), or what steers one.

    Its buffers are on the run's device and part of every checkpoint. Nothing in it may wait for the device.

    needs_margin: it means nothing with an adversarial loss whose logits say nothing of sides (Wasserstein).
    """

    needs_margin: bool = False

    def follow(self, step: int) -> None:
        """Called before training step `step`."""

    @abstractmethod
    def observe(self, real: Tensor, fake: Tensor, margin: Tensor | None) -> None:
        """Learns from what D made of a batch, once D's losses are computed; what it changes acts from then on.

        Args:
            real: logits of the reals as D saw them, (N,), or (N, 1, h, w) of a discriminator of patches; without a
                graph.
            fake: those of the fakes.
            margin: how far D is on the right side with each real, shaped like `real`; None where logits have no sides.
        """

    @abstractmethod
    def report(self) -> Mapping[str, Tensor]:
        """What metrics.jsonl says of it, at least one scalar: the key `p` of a transform T is there as `D/T_p`.

        The first is read before `observe`, the others after it.
        """


class Controller(Adaptive):
    """The probability p of an augmentation: fixed, on a schedule, or raised and lowered so that r_t meets a target.

    r_t = E[sign D(x)] over the reals since the last adjustment. After every `interval` images, p moves by
    sign(r_t - target)·images/(1000·kimg) and stays in [0, 1] (the paper's §3.1 and appendix B, whose values are
    target 0.6, kimg 500 and four minibatches). All of it is on the device and part of every checkpoint.

    Args:
        target: of r_t, in [-1, 1].
        kimg: thousands of images in which p moves from 0 to 1.
        interval: images from one adjustment to the next.
        p: a number or schedule in [0, 1], which p follows while r_t is only watched; None: adaptive, from 0.

    Attributes:
        p: (), the probability.
        r: (), the last r_t, 0 before there is one.
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
        self.needs_margin = p is None
        self.register_buffer("p", torch.tensor(0.0 if p is None else value(p, 0)))
        for name in ("r", "signs", "seen"):
            self.register_buffer(name, torch.tensor(0.0))

    def follow(self, step: int) -> None:
        """Sets p for training step `step`, where it is not adaptive."""
        if self.schedule is not None:
            self.p.fill_(value(self.schedule, step))

    @torch.no_grad()
    def observe(self, real: Tensor, fake: Tensor, margin: Tensor | None) -> None:
        """Takes the margins in, and adjusts p when enough were seen. One that is not a number counts as undecided."""
        if margin is None:
            return
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

    def report(self) -> Mapping[str, Tensor]:
        return {"p": self.p, "r": self.r}
