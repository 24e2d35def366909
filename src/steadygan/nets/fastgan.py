"""FastGAN: Liu et al., Towards Faster and Stabilized GAN Training for High-Fidelity Few-Shot Image Synthesis, ICLR
2021.

G has few channels at high resolutions, and coarse maps scale the channels of fine ones (skip-layer excitation). It
generates the image at two scales. D scores both with maps of logits, and small decoders reconstruct the image from D's
features, which regularises them (`objective.self_supervised`). All convolutions are spectrally normalised. Details
follow the authors' public code (odegeasslbc/FastGAN-pytorch), whose tables are for images of 256² and more; at 64² and
128² D's blocks start at the image's side, and the small scale is half of it.

`width` 64 is the published one, `latent` 256.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.batch_norm import BatchNorm2d, OfBatch
from steadygan.nets.layers import Conv2d, Score
from steadygan.nets.protocols import Stages
from steadygan.nets.recompute import Block
from steadygan.nets.resample import UpConv2d
from steadygan.nets.shape import Shape, Shaped, check_size
from steadygan.nets.spectral_norm import Spectral, SpectralNorm

SIZES = (64, 128, 256, 512)
SMALL = 128
SLOPE = 0.2
LAST = 8
"""The side of D's last feature maps."""

# Channels in units of width, by side: of G, and of D, which lags by a factor of two.
GENERATOR: Mapping[int, float] = MappingProxyType(
    {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25},
)
CRITIC: Mapping[int, float] = MappingProxyType(
    {4: 16, 8: 16, 16: 8, 32: 4, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
)
EXCITES: Mapping[int, int] = MappingProxyType({64: 4, 128: 8, 256: 16, 512: 32})
"""In G: side of the fine map → side of the coarse map that scales its channels."""


def small_side(size: int) -> int:
    """The side of the smaller image. Raises UserError for a size that the family does not support."""
    check_size(size, SIZES)
    return min(SMALL, size // 2)


def _conv(before: int, after: int, kernel: int, stride: int = 1, padding: int = 0) -> Conv2d:
    return Conv2d(before, after, kernel, stride=stride, padding=padding, bias=False, spectral=Spectral())


def _initialise(network: nn.Module) -> None:
    """Kernels N(0, 0.02²), gains N(1, 0.02²), biases 0, as DCGAN's (Radford et al., ICLR 2016)."""
    for layer in network.modules():
        if isinstance(layer, SpectralNorm):
            nn.init.normal_(layer.weight, std=0.02)
        elif isinstance(layer, BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)


class Noise(OfBatch, nn.Module):
    """Adds noise to x (N, C, H, W), one value per pixel, with a learned strength that starts at 0.

    In training mode the noise is drawn from torch's global generator; in evaluation mode it is a fixed buffer.
    """

    noise: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor) -> Tensor:
        noise = self.draw(torch.randn, x[:, :1]) if self.training else self.noise
        return x + (self.strength * noise).to(x.dtype)


class UpBlock(Block):
    """(N, C, H, W) → (N, C', 2H, 2W): nearest-neighbour doubling, conv3, BN, GLU; with `side`, noise, and conv3, noise,
    BN, GLU again.

    A GLU is one half of the channels times the sigmoid of the other (Dauphin et al., ICML 2017).

    Args:
        side: of the output.
    """

    def __init__(self, before: int, after: int, side: int | None = None) -> None:
        super().__init__()
        self.conv1, self.norm1 = UpConv2d(before, 2 * after, bias=False, spectral=Spectral()), BatchNorm2d(2 * after)
        self.twice = side is not None
        if side is not None:
            self.noise1, self.noise2 = Noise(side), Noise(side)
            self.conv2, self.norm2 = _conv(after, 2 * after, 3, padding=1), BatchNorm2d(2 * after)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        h = F.glu(self.norm1(self.noise1(h) if self.twice else h), 1)
        return F.glu(self.norm2(self.noise2(self.conv2(h))), 1) if self.twice else h


class Excitation(nn.Module):
    """coarse (N, C, h, w), fine (N, C', H, W) → fine, each channel times a factor in (0, 1) computed from coarse
    (§3.1)."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _conv(coarse, fine, 4), _conv(fine, fine, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        h = F.silu(self.conv1(F.adaptive_avg_pool2d(coarse, 4)))
        return fine * torch.sigmoid(self.conv2(h))


class Seed(nn.Module):
    """z (N, latent) → (N, C, 4, 4): the transpose of a 4×4 convolution, BN, GLU."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(latent, 2 * channels, 4), BatchNorm2d(2 * channels)

    def forward(self, z: Tensor) -> Tensor:
        h = F.conv_transpose2d(z[:, :, None, None], self.conv.kernel().transpose(0, 1))
        return F.glu(self.norm(h), 1)


class Generator(Shaped):
    """Latent (N, latent) → image (N, channels, size, size), in about [−1, 1], unbounded as in the code.

    Unconditional. `forward(…, scales=True)` returns the smaller image as well.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        _refuse_classes(shape.classes)
        size, channels, latent, width = shape.size, shape.channels, shape.latent, shape.width
        self.small = small_side(size)
        maps = {side: max(1, int(multiple * width)) for side, multiple in GENERATOR.items()}
        sides = [side for side in maps if side <= size]
        self.seed = Seed(latent, maps[4])
        self.blocks = nn.ModuleList(
            UpBlock(maps[side // 2], maps[side], side if i % 2 == 0 else None) for i, side in enumerate(sides[1:])
        )
        self.excitations = nn.ModuleDict(
            {str(side): Excitation(maps[EXCITES[side]], maps[side]) for side in sides if side in EXCITES}
        )
        self.to_small = _conv(maps[self.small], channels, 1)
        self.to_big = _conv(maps[size], channels, 3, padding=1)
        _initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None, scales: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """z: (N, latent). With `scales` the image and the smaller one (N, channels, small, small)."""
        maps = {4: self.seed(z)}
        for side, block in zip((4 * 2**i for i in range(1, len(self.blocks) + 1)), self.blocks, strict=True):
            h = block(maps[side // 2])
            maps[side] = self.excitations[str(side)](maps[EXCITES[side]], h) if side in EXCITES else h
        image = self.to_big(maps[self.size])
        return (image, self.to_small(maps[self.small])) if scales else image


class DownBlock(Block):
    """(N, C, H, W) → (N, C', H/2, W/2): conv4 of stride 2, BN, leaky ReLU (0.2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(before, after, 4, 2, 1), BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


class ResidualDownBlock(Block):
    """(N, C, H, W) → (N, C', H/2, W/2): the mean of conv4 of stride 2 and conv3, and of mean pooling and conv1.

    BN and leaky ReLU (0.2) follow each convolution.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(before, after, 4, 2, 1), BatchNorm2d(after)
        self.conv2, self.norm2 = _conv(after, after, 3, padding=1), BatchNorm2d(after)
        self.shortcut, self.norm = _conv(before, after, 1), BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.norm1(self.conv1(x)), SLOPE)
        h = F.leaky_relu(self.norm2(self.conv2(h)), SLOPE)
        straight = F.leaky_relu(self.norm(self.shortcut(F.avg_pool2d(x, 2))), SLOPE)
        return (h + straight) / 2


class Decoder(nn.Module):
    """Maps (N, C, h, w) → image (N, channels, side, side) in (−1, 1): pooled to 8×8, then `UpBlock`s (§3.2).

    The authors' code has four blocks and `side` 128, for images of at least 256 pixels; here the side is at most the
    image's.
    """

    def __init__(self, features: int, channels: int, side: int) -> None:
        super().__init__()
        widths = [features, 128, 64, 64, 32][: (side // LAST).bit_length()]
        self.blocks = nn.Sequential(*(UpBlock(before, after) for before, after in itertools.pairwise(widths)))
        self.out = _conv(widths[-1], channels, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        return torch.tanh(self.out(self.blocks(F.adaptive_avg_pool2d(h, LAST))))


class Reconstruction(NamedTuple):
    """Reconstructions (N, channels, side, side) from D's features: the whole image, a quarter, the smaller image.

    side: 128, or that of the image if it is smaller.
    """

    whole: Tensor
    quarter: Tensor
    small: Tensor


class Critic(Shaped):
    """Image → Score with a map of logits (N, 1, 5, 5), for an image of `size` or of the smaller side.

    The two scales have separate networks. Unconditional.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        _refuse_classes(shape.classes)
        size, channels, width = shape.size, shape.channels, shape.width
        self.small = small_side(size)
        maps = {side: max(1, int(multiple * width)) for side, multiple in CRITIC.items()}
        start = min(size, 256)
        self.stem = (
            _conv(channels, maps[2 * start], 3, padding=1)
            if size == start
            else _conv(channels, maps[2 * start], 4, 2, 1)
        )
        self.sides = [start >> i for i in range((start // LAST).bit_length())]
        self.blocks = nn.ModuleList(ResidualDownBlock(maps[2 * side], maps[side]) for side in self.sides[:-1])
        self.excitations = nn.ModuleDict(
            {str(side): Excitation(maps[16 * side], maps[2 * side]) for side in self.sides if 8 * side in self.sides}
        )
        self.head1, self.head_norm, self.head2 = _conv(maps[16], maps[8], 1), BatchNorm2d(maps[8]), _conv(maps[8], 1, 4)
        side = self.small // 2
        self.small_stem = _conv(channels, maps[4 * side], 4, 2, 1)
        downs = []
        while side > LAST:
            downs.append(DownBlock(maps[4 * side], maps[2 * side]))
            side //= 2
        self.small_blocks = nn.Sequential(*downs)
        self.small_head = _conv(maps[4 * LAST], 1, 4)
        made = min(size, 128)
        self.decode_whole, self.decode_quarter = (Decoder(maps[k], channels, made) for k in (16, 32))
        self.decode_small = Decoder(maps[4 * LAST], channels, made)
        _initialise(self)

    def stages(self) -> Stages:
        first, *others = self.blocks
        return [(self.stem, first), *((block,) for block in others)]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, side, side), side being `size` or `small`."""
        if x.shape[-1] == self.small:
            return Score(self.small_head(self._look_small(x)))
        *_, last = self._look(x)
        return Score(self.head2(F.leaky_relu(self.head_norm(self.head1(last)), SLOPE)))

    def reconstruct(self, x: Tensor, small: Tensor, quarter: Tensor) -> Reconstruction:
        """Reconstructions of x (N, channels, size, size) from D's features, and of its smaller version.

        quarter: (1,) int64, 0 to 3: top left, top right, bottom left, bottom right.
        """
        *_, before, last = self._look(x)
        quarters = torch.stack(quarters_of(before))
        part = quarters.index_select(0, quarter)[0]
        return Reconstruction(
            self.decode_whole(last), self.decode_quarter(part), self.decode_small(self._look_small(small))
        )

    def _look(self, x: Tensor) -> list[Tensor]:
        """The maps at every side, the last 8×8."""
        maps = [F.leaky_relu(self.stem(x), SLOPE)]
        for i, block in enumerate(self.blocks):
            h = block(maps[-1])
            side = str(self.sides[i + 1])
            maps.append(self.excitations[side](maps[i - 2], h) if side in self.excitations else h)
        return maps

    def _look_small(self, x: Tensor) -> Tensor:
        return self.small_blocks(F.leaky_relu(self.small_stem(x), SLOPE))


def quarters_of(x: Tensor) -> list[Tensor]:
    """The four quarters of x (N, C, H, W), each (N, C, H/2, W/2), row by row."""
    return [part for row in x.chunk(2, 2) for part in row.chunk(2, 3)]


def _refuse_classes(classes: int) -> None:
    if classes:
        raise UserError("this backbone is unconditional; set model.conditional=false")
