"""Image-to-image networks: the ResNet generator of Johnson et al. (ECCV 2016) as in CycleGAN, and the PatchGAN critic.

Zhu et al., ICCV 2017, app. 7.2, with the layers of its public code; CSGAN (arXiv 1901.03554) uses both unchanged.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.precision import without_autocast
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.layers import Conv2d, Score
from steadygan.nets.recompute import Block
from steadygan.nets.shape import Shape, Shaped, WrongShape
from steadygan.nets.spectral_norm import WARM_UP_ITERATIONS, Spectral, advance_spectral_norm

Norm = Literal["instance", "batch", "none"]
CriticNorm = Literal["instance", "batch", "none", "spectral"]

SLOPE = 0.2
STRIDE = 4
"""Stride of the generator's innermost feature map, in pixels of the image."""
LEAST_SIDE = 2 * STRIDE
"""Minimum side, in pixels, for reflection padding of the innermost feature map."""


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, which copies channels-last maps; while training, one image is its whole batch, which takes no copies."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 1:
            return F.batch_norm(x, None, None, training=True, eps=self.eps)
        return super().forward(x)


def _norm(name: str, channels: int) -> list[nn.Module]:
    if name == "instance":
        return [InstanceNorm2d(channels)]
    return [BatchNorm2d(channels)] if name == "batch" else []


def _initialise(network: nn.Module) -> None:
    """Kernels N(0, 0.02²), biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    advance_spectral_norm(network, WARM_UP_ITERATIONS)


class ReflectConv2d(Conv2d):
    """A 3×3 convolution with reflection padding.

    Args:
        before: input channels.
        after: output channels.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=1)

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        """rectify: convolve relu(x)."""
        if self.winograd and min(x.shape[2:]) > 2:  # a margin of 2 keeps sides that are multiples of 4
            wide = super().forward(F.pad(x, (2, 2, 2, 2), mode="reflect"), rectify=rectify)
            return wide[:, :, 2:-2, 2:-2].contiguous(memory_format=torch.channels_last)
        x = F.pad(F.relu(x) if rectify else x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, self.kernel(), self.bias)


class ResidualBlock(Block):
    """x + norm(conv(relu(norm(conv(x))))), 3×3, with reflection padding."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectConv2d(channels, channels),
            *_norm(norm, channels),
            nn.ReLU(),
            ReflectConv2d(channels, channels),
            *_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        body: Tensor = self.body(x)
        return x + body


class Generator(Shaped):
    """Image (N, channels, H, W) in [−1, 1] → image of the same shape in [−1, 1].

    A 7×7 convolution to `width` channels, two of stride 2, residual blocks, two transposed convolutions, a 7×7 one and
    tanh: c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-3 in the paper's notation. Images whose sides are not
    multiples of 4 are padded by reflection and the result is cropped. Raises UserError for an invalid option,
    ValueError for an image with a side below `LEAST_SIDE`.

    Args:
        blocks: residual blocks; null: 9 from 256 pixels on, 6 below.
        norm: instance (without gain and bias), batch or none.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        blocks: int | None = None,
        norm: Norm = "instance",
    ) -> None:
        super().__init__(shape)
        size, channels, width = shape.size, shape.channels, shape.width
        if shape.classes or shape.latent:
            raise UserError("a translation is unconditional; set model.conditional=false")
        blocks = (9 if size >= 256 else 6) if blocks is None else blocks
        if blocks < 0:
            raise UserError(f"blocks must be at least 0, got {blocks}")
        if size < LEAST_SIDE:
            raise WrongShape("size", f"must be at least {LEAST_SIDE}, got {size}")
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 7, padding=3, padding_mode="reflect")]
        layers += [*_norm(norm, width), nn.ReLU()]
        for inner in (width, 2 * width):
            layers += [nn.Conv2d(inner, 2 * inner, 3, stride=2, padding=1), *_norm(norm, 2 * inner), nn.ReLU()]
        layers += [ResidualBlock(4 * width, norm) for _ in range(blocks)]
        for inner in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * inner, inner, 3, stride=2, padding=1, output_padding=1)]
            layers += [*_norm(norm, inner), nn.ReLU()]
        layers += [nn.Conv2d(width, channels, 7, padding=3, padding_mode="reflect")]
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y is ignored.

        Raises:
            ValueError: a side is below `LEAST_SIDE`.
        """
        height, width = x.shape[2:]
        if min(height, width) < LEAST_SIDE:
            raise ValueError(f"an image of {width}×{height} pixels is too small: sides must be at least {LEAST_SIDE}")
        right, bottom = -width % STRIDE, -height % STRIDE
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="reflect")
        return torch.tanh(self.layers(x))[:, :, :height, :width]


class Critic(Shaped):
    """Image (N, images·channels, H, W) → a logit for each patch, (N, 1, H/2^layers - 2, W/2^layers - 2).

    4×4 convolutions: `layers` of stride 2 with width, 2·width, 4·width, … channels (8·width at most), one of stride 1
    and one to the logit; LeakyReLU 0.2, no norm after the first: C64-C128-C256-C512. With three layers, the receptive
    field is 70×70 pixels. Raises UserError for a size without patches, or an invalid option.

    Args:
        images: images scored together, stacked along channels (2 in pix2pix, whose D sees the input too).
        layers: convolutions of stride 2; with 3, the receptive field is 70×70 pixels.
        norm: instance, batch, none or spectral.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        images: int = 1,
        layers: int = 3,
        norm: CriticNorm = "instance",
    ) -> None:
        super().__init__(shape)
        size, width = shape.size, shape.width
        if layers < 1:
            raise UserError(f"the discriminator's layers must be at least 1, got {layers}")
        if size < 3 << layers:
            raise UserError(
                f"translate: D with {layers} layers needs images of at least {3 << layers} pixels, got {size}; "
                "raise data.size or lower model.critic.layers"
            )
        spectral = Spectral(norm == "spectral")
        outputs = [width * min(2**layer, 8) for layer in range(layers + 1)]
        body: list[nn.Module] = [Conv2d(images * shape.channels, width, 4, stride=2, padding=1, spectral=spectral)]
        body += [nn.LeakyReLU(SLOPE)]
        for layer in range(1, layers + 1):
            before, after, stride = outputs[layer - 1], outputs[layer], 2 if layer < layers else 1
            body += [Conv2d(before, after, 4, stride=stride, padding=1, spectral=spectral)]
            body += [*_norm(norm, after), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*body)
        self.head = Conv2d(outputs[-1], 1, 4, padding=1, spectral=spectral)
        _initialise(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """y is ignored."""
        h = self.body(x)
        with without_autocast(h):
            return Score(self.head(h.to(x.dtype)))


def generator_name(direction: str) -> str:
    """`G_ab` of a2b."""
    return f"G_{direction[0]}{direction[-1]}"


def critic_name(direction: str) -> str:
    """`D_b` of a2b: the discriminator of a direction."""
    return f"D_{direction[-1]}"
