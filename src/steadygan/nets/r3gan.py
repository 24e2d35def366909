"""R3GAN: Huang et al., The GAN is dead; long live the GAN! A Modern GAN Baseline, NeurIPS 2024.

Residual networks of grouped convolutions without any normalisation, G and D mirror images of each other, with two
blocks at each side from 4² on. `width` w gives 16·w channels up to 32², and half as many at each doubling beyond; a
3×3 convolution has 96 groups where the channels are full, in narrower networks and stages fewer in proportion. The
published networks:

    configuration              channels up to 32²    width    options of both
    CIFAR-10, FFHQ             768                   48
    ImageNet-32                1536                  96
    ImageNet-64                1536, also at 64²     96       full: 64

Details that the paper leaves open follow the authors' public code (brownvc/R3GAN).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.precision import without_autocast
from steadygan.nets.labels import look_up, required
from steadygan.nets.layers import Conv2d, Score
from steadygan.nets.modulated import Resample
from steadygan.nets.protocols import Stages
from steadygan.nets.recompute import Block
from steadygan.nets.shape import Shape, Shaped, check_size

SIZES = (8, 16, 32, 64, 128, 256, 512)
SEED = 4
SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""The factor of a leaky ReLU on the root mean square of its input (He et al., ICCV 2015)."""
FULL = 16
"""Channels of the widest stages in units of `width`."""
MOST_GROUPS = 96


def stage_widths(size: int, width: int, full: int) -> list[int]:
    """Channels at 4², 8², … up to the size of the image. Raises UserError for a size that the family does not
    support."""
    check_size(size, SIZES)
    if full < SEED:
        raise UserError(f"full must be at least {SEED}, got {full}")
    sides = [2**k for k in range(2, size.bit_length())]
    return [max(1, FULL * width * full // max(full, side)) for side in sides]


def _normal(weight: Tensor, gain: float) -> None:
    """N(0, gain²/fan_in) (the paper's §3.3, MSR initialisation)."""
    nn.init.normal_(weight, std=gain / math.sqrt(weight[0].numel()))


def _conv(before: int, after: int, kernel: int, gain: float, groups: int = 1) -> Conv2d:
    conv = Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)
    _normal(conv.weight, gain)
    return conv


class BiasedLeakyReLU(nn.Module):
    """x (N, C, H, W) → leaky ReLU (0.2) of x plus a learned bias for each channel, 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.to(x.dtype)[:, None, None], SLOPE)


class ResidualBlock(Block):
    """x plus an inverted bottleneck: 1×1, grouped 3×3, 1×1, with biased leaky ReLUs between them (the paper's §3.3).

    As in Fixup (Zhang et al., ICLR 2019) the last convolution starts at 0 and the others at L^(-1/(2m-2)) of their
    usual scale, m = 3 layers in a branch.

    Args:
        channels: of x.
        groups: of the 3×3 convolution.
        expansion: inner width as a multiple of the channels.
        blocks: L, number of blocks in the network.
    """

    def __init__(self, channels: int, groups: int, expansion: int, blocks: int) -> None:
        super().__init__()
        inside, gain = channels * expansion, GAIN * blocks ** (-1 / (2 * 3 - 2))
        self.conv1 = _conv(channels, inside, 1, gain)
        self.act1 = BiasedLeakyReLU(inside)
        self.conv2 = _conv(inside, inside, 3, gain, groups)
        self.act2 = BiasedLeakyReLU(inside)
        self.conv3 = _conv(inside, channels, 1, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))


class UpLayer(nn.Module):
    """(N, C, H, W) → (N, C', 2H, 2W): a 1×1 convolution where the channels change, then doubled.

    Resampling is bilinear with the [1, 2, 1] filter on nearest neighbours, which is `Resample`'s.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = _conv(before, after, 1, 1.0) if before != after else nn.Identity()
        self.resample = Resample()

    def forward(self, x: Tensor) -> Tensor:
        return self.resample.up(self.conv(x))


class DownLayer(nn.Module):
    """(N, C, H, W) → (N, C', H/2, W/2): halved, then a 1×1 convolution where the channels change."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = _conv(before, after, 1, 1.0) if before != after else nn.Identity()
        self.resample = Resample()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.resample.down(x))


class GenerativeBasis(nn.Module):
    """z (N, F) → (N, C, 4, 4): learned 4×4 maps, each times a linear function of z."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, SEED, SEED))
        self.linear = nn.Linear(features, channels, bias=False)
        _normal(self.linear.weight, 1.0)

    def forward(self, z: Tensor) -> Tensor:
        return self.basis * self.linear(z)[:, :, None, None]


class DiscriminativeBasis(nn.Module):
    """(N, C, 4, 4) → (N, F): each map's product with a learned 4×4 map, then a linear layer."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, SEED, SEED) / SEED)
        self.linear = nn.Linear(channels, features, bias=False)
        _normal(self.linear.weight, 1.0)

    def pooled(self, x: Tensor) -> Tensor:
        """The input of the linear layer (N, C)."""
        return (x * self.basis).sum((2, 3))


class Mirrored(Shaped):
    """What G and D have in common: their options, and the stages of blocks that these describe.

    Attributes:
        widths: channels of the stages at 4², 8², … up to the size of the image.

    Args:
        full: side, in pixels, up to which stages have the full number of channels.
        groups: groups of the 3×3 convolutions in those stages; null: twice the width (16 channels a group, with
            an expansion of 2), at most 96.
        expansion: width of a block's middle, as a multiple of its ends.
        blocks: residual blocks in each stage.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        full: int = 32,
        groups: int | None = None,
        expansion: int = 2,
        blocks: int = 2,
    ) -> None:
        super().__init__(shape)
        self.widths = stage_widths(shape.size, shape.width, full)
        self._groups = min(2 * shape.width, MOST_GROUPS) if groups is None else groups
        self._expansion, self._per_stage = expansion, blocks

    def stage(self, channels: int) -> list[ResidualBlock]:
        """New blocks for a stage of so many channels. Raises UserError if these do not split into the groups."""
        groups, inside = max(1, self._groups * channels // self.widths[0]), channels * self._expansion
        if inside % groups:
            raise UserError(
                f"{inside} channels do not split into {groups} groups; choose other groups for generator and critic"
            )
        depth = self._per_stage * len(self.widths)
        return [ResidualBlock(channels, groups, self._expansion, depth) for _ in range(self._per_stage)]


class Generator(Mirrored):
    """Latent (N, latent) → image (N, channels, size, size), in about [−1, 1], unbounded.

    With classes, an embedding of the label with as many dimensions as z is concatenated to z.
    """

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        widths = self.widths
        self.embedding = nn.Parameter(torch.empty(self.classes, self.latent)) if self.classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding, std=1 / math.sqrt(self.classes))
        self.basis = GenerativeBasis(self.latent * (2 if self.classes else 1), widths[0])
        stages = [self.stage(channels) for channels in widths]
        ups = [UpLayer(before, after) for before, after in itertools.pairwise(widths)]
        self.blocks = nn.ModuleList(
            nn.Sequential(*up, *blocks) for up, blocks in zip([[], *([up] for up in ups)], stages, strict=True)
        )
        self.to_rgb = _conv(widths[-1], self.channels, 1, 1.0)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without."""
        if self.embedding is not None:
            z = torch.cat([z, look_up(self.embedding, required(y))], 1)
        h = self.basis(z)
        for stage in self.blocks:
            h = stage(h)
        return self.to_rgb(h)


class Critic(Mirrored):
    """Image (N, channels, size, size) in [−1, 1] → Score; its features are the input of the last linear layer.

    Mirrors the generator. With classes the last layer has as many outputs as the first stage has channels, and the
    logit is their product with an embedding of the label.
    """

    def __init__(self, shape: Shape, **options: Any) -> None:
        super().__init__(shape, **options)
        most, widths = self.widths[0], self.widths[::-1]
        self.from_rgb = _conv(self.channels, widths[0], 1, 1.0)
        stages = [self.stage(channels) for channels in widths]
        downs = [DownLayer(before, after) for before, after in itertools.pairwise(widths)]
        self.blocks = nn.ModuleList(
            nn.Sequential(*blocks, *down) for blocks, down in zip(stages, [*([d] for d in downs), []], strict=True)
        )
        self.basis = DiscriminativeBasis(most, most if self.classes else 1)
        self.embedding = nn.Parameter(torch.empty(self.classes, most)) if self.classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding, std=1 / math.sqrt(self.classes * most))

    def stages(self) -> Stages:
        first, *others = self.blocks
        return [(self.from_rgb, first), *((block,) for block in others)]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = self.from_rgb(x)
        for stage in self.blocks:
            h = stage(h)
        with without_autocast(h):
            features = self.basis.pooled(h.to(self.basis.basis.dtype))
            out = self.basis.linear(features)
            if self.embedding is None:
                return Score(out.squeeze(1), features=features)
            return Score((out * look_up(self.embedding, required(y))).sum(1), features=features)
