"""SN-DCGAN, the "standard CNN" of Miyato et al., Spectral Normalization for GANs, ICLR 2018.

The unconditional network of the consistency papers (CR-GAN, ICR-GAN). With classes: conditional batch norm in
the generator and a projection discriminator (Miyato and Koyama, ICLR 2018); no paper uses these with this backbone.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.batch_norm import batch_norm
from steadygan.nets.layers import Conv2d, Embedding, Linear, Projection, Score, set_sn_gain
from steadygan.nets.protocols import Stages
from steadygan.nets.shape import Shape, Shaped, WrongShape
from steadygan.nets.spectral_norm import WARM_UP_ITERATIONS, Spectral, advance_spectral_norm

SLOPE = 0.1


def _check_size(size: int) -> None:
    if size < 8 or size % 8:
        raise WrongShape("size", f"must be a multiple of 8, such as 32, 64 or 128, got {size}")


def _initialise(network: nn.Module) -> None:
    """Weights N(0, 0.02²), biases 0."""
    for layer in network.modules():
        if isinstance(layer, Conv2d | nn.ConvTranspose2d | Linear | Embedding):
            nn.init.normal_(layer.weight, std=0.02)
            if not isinstance(layer, Embedding) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    advance_spectral_norm(network, WARM_UP_ITERATIONS)


class Generator(Shaped):
    """Latent (N, latent) → image (N, channels, size, size) in [−1, 1].

    A linear layer to a (size/8)² map of 8·width channels, three stride-2 transposed convolutions down to
    `width` channels, one at full resolution; batch norm and ReLU between them, tanh at the end. The first
    batch norm has statistics for each of the linear layer's outputs, not for each channel, as in the public
    implementations (compare_gan, chainer-gan-lib).

    Args:
        sn_generator: spectral norm on every layer of G.
        first_norm: batch norm and ReLU after the first linear layer; StudioGAN uses neither.
        bn_eps: ε of batch norm.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    def __init__(
        self, shape: Shape, *, sn_generator: bool = False, first_norm: bool = True, bn_eps: float = 1e-5
    ) -> None:
        super().__init__(shape)
        _check_size(shape.size)
        if sn_generator:
            raise UserError("sn_generator is not available (transposed convolutions); use kind: resnet")
        self.seed, width, classes = shape.size // 8, shape.width, shape.classes
        widths = (8 * width, 4 * width, 2 * width, width)
        self.linear = Linear(shape.latent, widths[0] * self.seed**2)
        self.norm = batch_norm(widths[0] * self.seed**2, classes, bn_eps) if first_norm else None
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(batch_norm(after, classes, bn_eps) for after in widths[1:])
        self.out = nn.ConvTranspose2d(width, shape.channels, 3, padding=1)
        _initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without."""
        h = self.linear(z)
        if self.norm is not None:
            h = F.relu(self.norm(h[:, :, None, None], y))
        h = h.view(z.shape[0], -1, self.seed, self.seed)
        for up, norm in zip(self.up, self.norms, strict=True):
            h = F.relu(norm(up(h), y))
        return torch.tanh(self.out(h))


class Critic(Shaped):
    """Image (N, channels, size, size) in [−1, 1] → Score, its features the flattened last map.

    Seven convolutions, 3×3 at one resolution in turn with 4×4 of stride 2, leaky ReLU (0.1) after each,
    then a linear layer on all 8·width·(size/8)² values. StudioGAN's D is `paired`, `pooled`, of slope 0, with batch
    norm and without spectral norm.

    Args:
        sn_critic: spectral norm on every layer of D.
        sn_eps: ε of spectral norm's divisions.
        paired: both convolutions of a resolution have equally many channels, as in StudioGAN.
        pooled: sum features over space before the last layer, as in StudioGAN.
        slope: slope of the leaky ReLU below zero; StudioGAN uses 0.
        bn_eps: ε of a batch norm after every convolution; null: no batch norm.
        sn_gain: factor on every spectrally normalised weight; above 1, the logits of a deep D differ more between
            images.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        sn_critic: bool = True,
        sn_eps: float = 1e-12,
        paired: bool = False,
        pooled: bool = False,
        slope: float = SLOPE,
        bn_eps: float | None = None,
        sn_gain: float = 1.0,
    ) -> None:
        super().__init__(shape)
        _check_size(shape.size)
        self.pooled, self.slope = pooled, slope
        spectral, width = Spectral(sn_critic, sn_eps), shape.width
        multiples = (1, 1, 2, 2, 4, 4, 8) if paired else (1, 2, 2, 4, 4, 8, 8)
        widths = [shape.channels, *(multiple * width for multiple in multiples)]
        self.convs = nn.ModuleList(
            Conv2d(
                widths[i],
                widths[i + 1],
                kernel_size=4 if i % 2 else 3,
                stride=2 if i % 2 else 1,
                padding=1,
                spectral=spectral,
            )
            for i in range(7)
        )
        self.norms = nn.ModuleList(
            nn.Identity() if bn_eps is None else batch_norm(after, 0, bn_eps) for after in widths[1:]
        )
        self.head = Projection(8 * width * (1 if pooled else (shape.size // 8) ** 2), shape.classes, spectral=spectral)
        _initialise(self)
        set_sn_gain(self, sn_gain)

    def stages(self) -> Stages:
        return list(zip(self.convs, self.norms, strict=True))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.leaky_relu(norm(conv(h)), self.slope)
        h = h.sum((2, 3)) if self.pooled else h.flatten(1)
        return Score(self.head(h, y), features=h)
