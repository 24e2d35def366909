"""Adaptive augmentations: transforms that adapt to D's scores, and the control of their probability.

D's overfitting controls the probability of ADA and APA (Karras et al., ADA, NeurIPS 2020, §3.1).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from steadygan.parallel.share import Sharing
from steadygan.schedules import Schedule, value


class Adaptive(Sharing, nn.Module):
    """State that adapts to D: a transform of D's inputs (`augment.transforms`), or its controller.

    Its buffers are on the run's device and in every checkpoint. It must not synchronise with the device.

    Attributes:
        needs_margin: it requires an adversarial loss with a decision boundary (not Wasserstein).
    """

    needs_margin: bool = False

    def follow(self, step: int) -> None:
        """Called before training step `step`."""

    @abstractmethod
    def observe(self, real: Tensor, fake: Tensor, margin: Tensor | None) -> None:
        """Observes D's scores of a batch after its losses are computed; changes apply to later batches.

        Args:
            real: logits of the reals, (N,), or (N, 1, h, w) for a patch discriminator; without a graph.
            fake: logits of the fakes.
            margin: D's margin on each real, shaped like `real`; None if logits have no boundary.
        """

    @abstractmethod
    def report(self) -> Mapping[str, Tensor]:
        """Values for metrics.jsonl, at least one scalar: the key `p` of a transform T is logged as `D/T_p`.

        The first value is read before `observe`, the others after it.
        """


class Controller(Adaptive):
    """The probability p of an augmentation: fixed, scheduled, or adapted so that r_t meets a target.

    r_t = E[sign D(x)] over the reals since the last adjustment. After every `interval` images, p changes by sign(r_t -
    target)·images/(1000·kimg), clipped to [0, 1] (the paper's §3.1 and appendix B, whose values are target 0.6, kimg
    500 and four minibatches). All state is on the device and in every checkpoint.

    Args:
        target: target of r_t, in [-1, 1].
        kimg: thousands of images in which p moves from 0 to 1.
        interval: images between adjustments.
        p: a number or schedule in [0, 1], with r_t only logged; None: adaptive, from 0.

    Attributes:
        p: (), the probability.
        r: (), the last r_t, initially 0.
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
        """Sets p for training step `step`, unless it is adaptive."""
        if self.schedule is not None:
            self.p.fill_(value(self.schedule, step))

    @torch.no_grad()
    def observe(self, real: Tensor, fake: Tensor, margin: Tensor | None) -> None:
        """Accumulates margins, and adjusts p after `interval` images. NaN counts as 0."""
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
