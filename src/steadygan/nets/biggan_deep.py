"""BigGAN-deep: Brock et al., Large Scale GAN Training, ICLR 2019, app. B, tables 7 to 9.

Channels and order of the blocks as in google/compare_gan and in the released generators at 128², 256² and 512²
(huggingface/pytorch-pretrained-BigGAN). The table of 64² is compare_gan's; that of 32², for small data and tests,
is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.nets.attention import attention_after
from steadygan.nets.batch_norm import ModulatedBatchNorm2d, batch_norm
from steadygan.nets.biggan import Attentive, Conditioned, initialise
from steadygan.nets.labels import required
from steadygan.nets.layers import Conv2d, Embedding, Linear, Projection, Score, at_size
from steadygan.nets.protocols import Stages
from steadygan.nets.recompute import Block
from steadygan.nets.resample import UpConv2d, downsample, upsample
from steadygan.nets.resnet import SEED
from steadygan.nets.shape import Shape
from steadygan.nets.spectral_norm import Spectral

BOTTLENECK = 4

# Multiples of `width`: the generator's seed and the output of each block, every second of which doubles the side ...
GENERATOR_WIDTHS = {
    32: (4, 4, 4, 4, 4, 4, 4),
    64: (16, 16, 16, 16, 8, 8, 4, 4, 2),
    128: (16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1),
    256: (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1),
    512: (16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1),
}
# ... and D's first convolution and the output of each block, of which the first, third, … halve the side.
CRITIC_WIDTHS = {
    32: (2, 2, 2, 2, 2, 2, 2),
    64: (2, 4, 4, 8, 8, 16, 16, 16, 16),
    128: (1, 2, 2, 4, 4, 8, 8, 16, 16, 16, 16),
    256: (1, 2, 2, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16),
    512: (1, 1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 16, 16, 16, 16),
}


class UpBlock(Block):
    """(N, C, H, W) → (N, C', H, W), or (N, C', 2H, 2W) with `up`; C' ≤ C.

    BN, ReLU, conv1 to C/4; BN, ReLU, ×2, conv3; BN, ReLU, conv3; BN, ReLU, conv1 to C'. The shortcut keeps the first C'
    channels, ×2.

    Args:
        before: C.
        after: C'.
        up: double the sides.
        norm: builds a batch norm, called with (x, condition), for a number of channels.
        spectral: spectral norm of the convolutions.
        slope: of every ReLU below zero.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        up: bool,
        norm: Callable[[int], nn.Module],
        spectral: Spectral,
        slope: float = 0.0,
    ) -> None:
        super().__init__()
        middle = max(before // BOTTLENECK, 1)
        self.up, self.after, self.slope = up, after, slope
        self.norms = nn.ModuleList(norm(features) for features in (before, middle, middle, middle))
        self.convs = nn.ModuleList(
            (
                Conv2d(before, middle, 1, spectral=spectral),
                UpConv2d(middle, middle, spectral=spectral)
                if up
                else Conv2d(middle, middle, 3, padding=1, spectral=spectral),
                Conv2d(middle, middle, 3, padding=1, spectral=spectral),
                Conv2d(middle, after, 1, spectral=spectral),
            )
        )

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        """x: (N, C, H, W); c: (N, F), the condition of the norms."""
        h, shortcut = x, x[:, : self.after]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(rectified(norm(h, c), self.slope))
        return h + (upsample(shortcut) if self.up else shortcut)


class DownBlock(Block):
    """(N, C, H, W) → (N, C', H, W), or (N, C', H/2, W/2) with `down`; C' ≥ C.

    ReLU, conv1 to C'/4; ReLU, conv3; ReLU, conv3; ReLU, mean pooling, conv1 to C'. The pooled shortcut is extended by a
    1×1 convolution of itself to C' channels.

    Args:
        before: C.
        after: C'.
        down: halve the sides.
        spectral: spectral norm of the convolutions.
        slope: of every ReLU below zero.
    """

    def __init__(self, before: int, after: int, *, down: bool, spectral: Spectral, slope: float = 0.0) -> None:
        super().__init__()
        middle = max(after // BOTTLENECK, 1)
        self.down, self.slope = down, slope
        self.convs = nn.ModuleList(
            Conv2d(fan_in, fan_out, kernel, padding=kernel // 2, spectral=spectral)
            for fan_in, fan_out, kernel in (
                (before, middle, 1),
                (middle, middle, 3),
                (middle, middle, 3),
                (middle, after, 1),
            )
        )
        self.more = Conv2d(before, after - before, 1, spectral=spectral) if after > before else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W)."""
        h, shortcut = x, x
        for place, conv in enumerate(self.convs):
            h = rectified(h, self.slope)
            if self.down and place == 3:
                h, shortcut = downsample(h), downsample(shortcut)
            h = conv(h)
        if self.more is not None:
            shortcut = torch.cat([shortcut, self.more(shortcut)], dim=1)
        return h + shortcut


def rectified(x: Tensor, slope: float) -> Tensor:
    """ReLU, or leaky ReLU with this slope."""
    return F.leaky_relu(x, slope) if slope else F.relu(x)


class Generator(Conditioned):
    """Latent (N, latent) → image (N, channels, size, size) in [−1, 1].

    The latent, concatenated to a 128-d class embedding if there are classes, goes to the linear layer and to every
    batch norm of the blocks, which projects it linearly to gains and biases. Two `UpBlock`s per doubling, then BN
    (unconditional), ReLU, conv3, tanh. `width` and latent of 128 are the published ones. Attention follows the block
    that outputs its side.

    Args:
        sn_out: with sn_generator: spectral norm on the last convolution as well.
        slope: slope of every ReLU below zero; LOGAN's is 0.2.
        **options: those of every generator of the family.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    def __init__(self, shape: Shape, *, sn_out: bool = True, slope: float = 0.0, **options: Any) -> None:
        super().__init__(shape, **options)
        classes, latent = shape.classes, shape.latent
        widths = [multiple * shape.width for multiple in at_size(GENERATOR_WIDTHS, shape.size)]
        self.slope = slope
        self.embedding = Embedding(classes, self.class_embedding) if classes else None
        condition = latent + (self.class_embedding if classes else 0)
        spectral = Spectral(self.sn_generator, self.sn_eps)

        def project(features: int) -> nn.Module:
            return Linear(condition, features, bias=False, spectral=spectral)

        def norm(features: int) -> nn.Module:
            return ModulatedBatchNorm2d(features, project, eps=self.bn_eps)

        self.linear = Linear(condition, widths[0] * SEED**2, spectral=spectral)
        self.blocks = nn.ModuleList(
            UpBlock(before, after, up=i % 2 == 1, norm=norm, slope=slope, spectral=spectral)
            for i, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.attention = attention_after(
            self.sides,
            [SEED << (i + 1) // 2 for i in range(len(widths) - 1)],
            widths[1:],
            spectral=spectral,
        )
        self.norm = batch_norm(widths[-1], 0, self.bn_eps)
        spectral = Spectral(self.sn_generator and sn_out, self.sn_eps)
        self.out = Conv2d(widths[-1], shape.channels, 3, padding=1, spectral=spectral)
        initialise(self, self.init)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without."""
        c = z if self.embedding is None else torch.cat([z, self.embedding(required(y))], dim=1)
        h = self.linear(c).view(z.shape[0], -1, SEED, SEED)
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h, c))
        return torch.tanh(self.out(rectified(self.norm(h), self.slope)))


class Critic(Attentive):
    """Image (N, channels, size, size) in [−1, 1] → Score, its features ReLU maps *summed* over space (N, F).

    A 3×3 convolution, two `DownBlock`s per halving down to 4×4, projection head. `width` 128 is the published one.
    Attention precedes the block that halves its side.

    Args:
        sn_critic: spectral norm on every layer of D.
        slope: slope of every ReLU below zero; 0 is a plain ReLU.
        **options: those of every network of the family.
    """

    def __init__(self, shape: Shape, *, sn_critic: bool = True, slope: float = 0.0, **options: Any) -> None:
        super().__init__(shape, **options)
        widths = [multiple * shape.width for multiple in at_size(CRITIC_WIDTHS, shape.size)]
        self.slope = slope
        spectral = Spectral(sn_critic, self.sn_eps)
        self.stem = Conv2d(shape.channels, widths[0], 3, padding=1, spectral=spectral)
        self.blocks = nn.ModuleList(
            DownBlock(before, after, down=i % 2 == 0, slope=slope, spectral=spectral)
            for i, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.attention = attention_after(
            self.sides,
            [shape.size >> i // 2 + 1 for i in range(len(widths) - 1)],
            widths[1:],
            last=True,
            spectral=spectral,
        )
        self.head = Projection(widths[-1], shape.classes, spectral=spectral)
        initialise(self, self.init)

    def stages(self) -> Stages:
        first, *others = zip(self.blocks, self.attention, strict=True)
        return [(self.stem, *first), *others]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = self.stem(x)
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h))
        h = rectified(h, self.slope).sum((2, 3))
        return Score(self.head(h, y), features=h)
