"""Views: values that name a tensor of the batch.

A regulariser is defined by *the tensors it uses* and *the scalar it computes from them*. A view is the first half: a
frozen, hashable expression. Equal expressions share one tensor, computed once per batch. A new kind of view is a
subclass of `View` with a `compute`; nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from steadygan.objective.batch import Batch, Origin, Transform, View
from steadygan.objective.memory import History
from steadygan.parallel.share import rows, share_of


@dataclass(frozen=True)
class Real(View):
    """The batch's training images of a domain, float (N, C, H, W) in [-1, 1], with their own labels."""

    domain: str = "x"


@dataclass(frozen=True)
class Latent(View):
    """z (N, latent) from the prior, with labels drawn for it. Each `draw` is another sample."""

    draw: int = 0

    def compute(self, b: Batch) -> Tensor:
        return b.prior.latents(b.size, b.generator)

    def labels(self, b: Batch) -> Tensor | None:
        return b.prior.labels(b.size, b.generator)


@dataclass(frozen=True)
class Gen(View):
    """The image that network `net` generates from `source`: (N, C, H, W) in [-1, 1], with the source's labels.

    All independent `Gen` views of one network share one call, with batch-norm statistics per view.
    """

    net: str
    source: View

    def origin(self) -> Origin:
        return "fake"

    def compute(self, b: Batch) -> Tensor:
        b.generate([self])
        return b[self]


@dataclass(frozen=True)
class Small(View):
    """The smaller image that the network of `source` generates in the same call (FastGAN)."""

    source: Gen

    def compute(self, b: Batch) -> Tensor:
        b.generate([self])
        return b[self]


@dataclass(frozen=True)
class Aug(View):
    """`transform` of a view with random parameters per sample; each `draw` has different ones."""

    transform: Transform
    source: View
    draw: int = 0

    def compute(self, b: Batch) -> Tensor:
        return self.transform(b[self.source], b.generator)

    def seen(self, b: Batch) -> Tensor:
        """Augmented *after* `pre_d`, with the same draw as its source, so that a consistency pair differs only by T."""
        return self.transform(b.seen(self.source), b.generator)


@dataclass(frozen=True)
class Bare(View):
    """`source` without `pre_d` as D's input, with the source's labels."""

    source: View

    def compute(self, b: Batch) -> Tensor:
        return b[self.source]

    def seen(self, b: Batch) -> Tensor:
        return b[self.source]


@dataclass(frozen=True)
class Through(View):
    """`source`, with D's gradient propagated through a draw of `pre_d` to the image itself."""

    source: View

    def compute(self, b: Batch) -> Tensor:
        return b[self.source]

    def leaf(self, b: Batch) -> tuple[Tensor, Tensor]:
        image = b[self.source].detach().requires_grad_()
        return image, b.before_critic(image, self.origin())


@dataclass(frozen=True)
class Detach(View):
    """`source` as a constant: no gradient flows back through it."""

    source: View

    def compute(self, b: Batch) -> Tensor:
        return b[self.source].detach()

    def seen(self, b: Batch) -> Tensor:
        return b.seen(self.source).detach()


@dataclass(frozen=True)
class Beside(View):
    """`image` concatenated along channels with its input or partner: (N, C_condition + C_image, H, W).

    The input of pix2pix's D (Isola et al., CVPR 2017, eq. 1). A `pre_d` treats the two alike if it knows the number of
    images (`DiffAugment.images`).
    """

    condition: View
    image: View

    def compute(self, b: Batch) -> Tensor:
        return torch.cat([b[self.condition], b[self.image]], 1)


@dataclass(frozen=True)
class Pool(View):
    """`source`, or earlier images from a history of `size` (Shrivastava et al., CVPR 2017, §2.3).

    It follows the rule of `History`; its images are constants. For D only, and for images without labels.
    """

    source: View
    size: int = 50

    def compute(self, b: Batch) -> Tensor:
        return b.memories[self](b[self.source], b.generator)

    def labels(self, b: Batch) -> Tensor | None:
        if b.labels(self.source) is not None:
            raise ValueError("a history of images keeps no labels")
        return None

    def memory(self) -> nn.Module:
        return History(self.size)


@dataclass(frozen=True)
class Nudge(View):
    """z + Δz, Δz ~ N(0, sigma²) per element (ICR, Zhao et al., AAAI 2021, Alg. 2); sigma is a standard deviation."""

    source: View
    sigma: float

    def compute(self, b: Batch) -> Tensor:
        z = b[self.source]
        return z + self.sigma * rows(torch.randn, z.shape, b.generator, dtype=z.dtype)


@dataclass(frozen=True)
class Lerp(View):
    """a + t·(b - a), one t ~ U(0, 1) per sample, with a's labels (WGAN-GP, Gulrajani et al., NeurIPS 2017, Alg. 1)."""

    a: View
    b: View

    def compute(self, b: Batch) -> Tensor:
        start, end = b[self.a], b[self.b]
        shape = (len(start),) + (1,) * (start.dim() - 1)
        return start.lerp(end, rows(torch.rand, shape, b.generator, dtype=start.dtype))


@dataclass(frozen=True)
class Jitter(View):
    """x + a·scale·std·U, one a ~ U(0, 1) per sample and one U ~ U(0, 1) per pixel, with the source's labels.

    With `noise` "both-ways", x + scale·std·(2U - 1), clipped to [-1, 1]. std is over all pixels of the batch. Used by
    DRAGAN (Kodali et al., 2017), see `penalties.dragan`.
    """

    source: View
    scale: float = 0.5
    noise: Literal["brighter", "both-ways"] = "brighter"

    def compute(self, b: Batch) -> Tensor:
        x = b[self.source]
        noise = rows(torch.rand, x.shape, b.generator, dtype=x.dtype)
        variance, _ = share_of(b.generator).var_mean(x, range(x.dim()))
        radius = self.scale * variance.sqrt()
        if self.noise == "both-ways":
            return (x + radius * (2 * noise - 1)).clamp(-1, 1)
        shape = (len(x),) + (1,) * (x.dim() - 1)
        share = rows(torch.rand, shape, b.generator, dtype=x.dtype)
        return x + share * (radius * noise)


@dataclass(frozen=True)
class Relabel(View):
    """`source` with the labels of `like`: a latent for fakes of the same classes as the reals."""

    source: View
    like: View

    def compute(self, b: Batch) -> Tensor:
        return b[self.source]

    def labels(self, b: Batch) -> Tensor | None:
        return b.labels(self.like)


@dataclass(frozen=True)
class Mask(View):
    """CutMix's mask for images like `like`: (N, 1, H, W) of 0 and 1, another for each sample and each `draw`.

    λ ~ U(0, 1), which is Beta(1, 1). 0 in a box of side int(side·√(1 - λ)) around a uniform pixel, cropped at the edge,
    and 1 outside; inverted with probability ½ (Yun et al., CutMix, ICCV 2019, with the distribution of U-Net GAN's
    code: Schönfeld et al., CVPR 2020).
    """

    like: View
    draw: int = 0

    def compute(self, b: Batch) -> Tensor:
        x = b[self.like]
        n, device = len(x), x.device
        root = (1 - rows(torch.rand, (n, 1), b.generator)).sqrt()

        def inside(side: int) -> Tensor:
            half = (root * side).long() // 2
            centre = rows(partial(torch.randint, side), (n, 1), b.generator)
            at = torch.arange(side, device=device)
            return (at >= centre - half) & (at < centre + half)

        box = inside(x.shape[2])[:, None, :, None] & inside(x.shape[3])[:, None, None, :]
        inverted = rows(torch.rand, (n, 1, 1, 1), b.generator) < 0.5
        return (box == inverted).to(x.dtype)


@dataclass(frozen=True)
class CutMix(View):
    """`a` where the mask is 1 and `b` where it is 0, with a's labels."""

    a: View
    b: View
    mask: View

    def compute(self, b: Batch) -> Tensor:
        return torch.where(b[self.mask] > 0.5, b[self.a], b[self.b])

    def seen(self, b: Batch) -> Tensor:
        """Mixed *after* `pre_d`, so that each pixel is one that D also sees in `a` or `b`."""
        return torch.where(b[self.mask] > 0.5, b.seen(self.a), b.seen(self.b))
