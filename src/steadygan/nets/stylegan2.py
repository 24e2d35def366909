"""StyleGAN2: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020.

Configuration F of the paper, conditioned on classes as in Karras et al., Training Generative Adversarial Networks with
Limited Data, NeurIPS 2020 (StyleGAN2-ADA). Details the papers leave open follow the authors' public code
(NVlabs/stylegan2, NVlabs/stylegan2-ada-pytorch).

`width` w gives a layer of r×r pixels min(512·w / r, fmap_max) feature maps, fmap_max being 8·w when it is not set. That
is, for the published networks:

    configuration                            feature maps           width   options
    configuration F; ADA's paper512, 1024    min(32768 / r, 512)    64
    ADA's paper256; DiffAugment's 256²       min(16384 / r, 512)    32      fmap_max: 512
    ADA's cifar                              512 (4² to 32²)        64      mapping_layers: 2, style_mixing: 0 (G)
                                                                            residual: false, mbstd_group: 32 (D)
    DiffAugment's CIFAR                      min(4096 / r, 512)     8       fmap_max: 512

All use `latent` 512, which is also the dimension of w. `fmap_max` is an option of both networks.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.kernels.precision import without_autocast
from steadygan.nets.batch_norm import MinibatchStddev, OfBatch
from steadygan.nets.labels import look_up, required
from steadygan.nets.layers import Score
from steadygan.nets.modulated import (
    ACTIVATION_GAIN,
    SLOPE,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    Resample,
    clamped,
    normalise_second_moment,
)
from steadygan.nets.protocols import Stages
from steadygan.nets.recompute import Block
from steadygan.nets.shape import Shape, Shaped, check_size

SIZES = (16, 32, 64, 128, 256, 512, 1024)
SEED = 4
MAPPING_LR = 0.01


def _sides(size: int) -> list[int]:
    """4, 8, … up to the size of the image."""
    check_size(size, SIZES)
    return [2**k for k in range(2, size.bit_length())]


def _feature_maps(size: int, width: int, fmap_max: int | None) -> list[int]:
    """The number of feature maps at 4², 8², … up to the size of the image."""
    most = 8 * width if fmap_max is None else fmap_max
    if most < 1:
        raise UserError(f"fmap_max must be at least 1, got {fmap_max}")
    return [max(1, min(512 * width // side, most)) for side in _sides(size)]


def _check_clamp(bound: float | None) -> None:
    if bound is not None and not bound > 0:
        raise UserError(f"conv_clamp must be positive, or null for none, got {bound}")


class Mapping(nn.Module):
    """z (N, latent) and y (N,) → w (N, w_dim): dense layers with leaky ReLU, learning at 1/100 of the rate.

    z and the embedded label are first normalised to unit mean square.

    Args:
        latent: length of z; 0: the input is the label alone.
        classes: number of classes; 0: the input is z alone.
        w_dim: length of w.
        layers: number of dense layers.

    Raises:
        UserError: there are no layers.
    """

    def __init__(self, latent: int, classes: int, w_dim: int, layers: int) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"mapping_layers must be at least 1, got {layers}")
        self.embedding = nn.Parameter(torch.randn(classes, w_dim)) if classes else None
        self.embedding_bias = nn.Parameter(torch.zeros(w_dim)) if classes else None
        widths = [latent + (w_dim if classes else 0)] + [w_dim] * layers
        self.layers = nn.Sequential(
            *(EqualLinear(widths[i], w_dim, lr_multiplier=MAPPING_LR, activate=True) for i in range(layers))
        )

    def forward(self, z: Tensor | None, y: Tensor | None) -> Tensor:
        parts = [] if z is None else [normalise_second_moment(z)]
        if self.embedding is not None and self.embedding_bias is not None:
            # An equalised dense layer of the one-hot label.
            row = look_up(self.embedding, required(y)) / math.sqrt(len(self.embedding))
            parts.append(normalise_second_moment(row + self.embedding_bias))
        return self.layers(torch.cat(parts, 1))


class SynthesisLayer(OfBatch, Block):
    """x (N, C, H, W), w (N, w_dim) → (N, C', H, W), or twice the side with `up`: modulated conv3, noise, leaky ReLU.

    The noise is one value per pixel, shared by the channels, with a learned strength that starts at 0: drawn from
    torch's global generator in training mode, a fixed buffer in evaluation mode.

    Args:
        before: C.
        after: C'.
        w_dim: length of w.
        side: of the output in pixels.
        up: double the sides.
        noise: whether there is noise.
        clamp: bound of the output; None: no bound.
        raw_eps: see `ModulatedConv2d`.
    """

    noise: Tensor

    def __init__(
        self,
        before: int,
        after: int,
        w_dim: int,
        side: int,
        *,
        up: bool,
        noise: bool,
        clamp: float | None = None,
        raw_eps: bool = False,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.conv = ModulatedConv2d(before, after, 3, w_dim, up=up, gain=ACTIVATION_GAIN, raw_eps=raw_eps)
        self.strength = nn.Parameter(torch.zeros(())) if noise else None
        if noise:
            self.register_buffer("noise", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        h = self.conv(x, w)
        if self.strength is not None:
            noise = self.draw(torch.randn, h[:, :1]) if self.training else self.noise
            h = h + (noise * (self.strength * ACTIVATION_GAIN)).to(h.dtype)
        return clamped(F.leaky_relu(h, SLOPE), self.clamp)


class Generator(OfBatch, Shaped):
    """Latent (N, latent) → image (N, channels, size, size), roughly in [−1, 1].

    There is no tanh: values may leave [−1, 1], and are clamped only when converted to uint8. A learned 4×4 constant
    passes through two `SynthesisLayer`s per doubling (one at 4×4); the image is the sum of the RGB outputs of all
    resolutions, upsampled with the filter.

    `map` and `synthesise` are the two halves, for methods that use w, such as interpolation; neither mixes styles nor
    updates the average of w. In training mode `styles` does both, for `forward` and path length. Two calls in training
    mode differ even for the same z, by noise and mixing; terms that compare images (zCR) need `style_mixing: 0`.

    Style mixing (StyleGAN, Karras et al., CVPR 2019, §3.1) is drawn for each image; the authors' code draws it once per
    batch. The average of w decays by 0.995, as in the authors' code.

    Args:
        fmap_max: maximum channels of a layer; null: 8 times model.width.
        mapping_layers: layers of the mapping network.
        w_dim: dimension of w; null: that of z.
        style_mixing: probability that an image takes the styles of a second latent from a random layer on.
        noise: per-pixel noise after every convolution.
        w_avg_beta: decay, per training call, of the running average of w used by truncation.
        conv_clamp: bound on the output of every convolution (256 in NVIDIA's half-precision files); null: none.
        raw_eps: ε of demodulation as in NVIDIA's PyTorch code; false: as in its TensorFlow code.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    w_avg: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        fmap_max: int | None = None,
        mapping_layers: int = 8,
        w_dim: int | None = None,
        style_mixing: float = 0.9,
        noise: bool = True,
        w_avg_beta: float = 0.995,
        conv_clamp: float | None = None,
        raw_eps: bool = False,
    ) -> None:
        super().__init__(shape)
        sides, maps = _sides(shape.size), _feature_maps(shape.size, shape.width, fmap_max)
        if w_dim is not None and w_dim < 1:
            raise UserError(f"w_dim must be at least 1, got {w_dim}")
        for name, value in {"style_mixing": style_mixing, "w_avg_beta": w_avg_beta}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} must be between 0 and 1, got {value}")
        _check_clamp(conv_clamp)
        self.w_dim = w_dim or shape.latent
        self.style_mixing, self.w_avg_beta, self.conv_clamp = style_mixing, w_avg_beta, conv_clamp
        self.mapping = Mapping(shape.latent, shape.classes, self.w_dim, mapping_layers)
        self.register_buffer("w_avg", torch.zeros(self.w_dim))
        self.constant = nn.Parameter(torch.randn(1, maps[0], SEED, SEED))
        layer = partial(SynthesisLayer, w_dim=self.w_dim, noise=noise, clamp=conv_clamp, raw_eps=raw_eps)
        self.first = layer(maps[0], maps[0], side=SEED, up=False)
        self.ups, self.layers = nn.ModuleList(), nn.ModuleList()
        for i in range(1, len(sides)):
            self.ups.append(layer(maps[i - 1], maps[i], side=sides[i], up=True))
            self.layers.append(layer(maps[i], maps[i], side=sides[i], up=False))
        self.to_rgb = nn.ModuleList(ModulatedConv2d(m, shape.channels, 1, self.w_dim, demodulate=False) for m in maps)
        self.resample = Resample()
        self.num_layers = 2 * len(sides)

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """w (N, num_layers, w_dim), the same for every layer. y: required with classes and ignored without."""
        return self.mapping(z, y)[:, None].expand(-1, self.num_layers, -1)

    def synthesise(self, w: Tensor) -> Tensor:
        """Images (N, channels, size, size) of w (N, num_layers, w_dim).

        Layer i uses w[:, i]; a resolution's RGB output uses the w of the next layer.
        """
        styles = w.unbind(1)
        h = self.first(self.constant.expand(w.shape[0], -1, -1, -1), styles[0])
        image = clamped(self.to_rgb[0](h, styles[1]).to(w.dtype), self.conv_clamp)
        for i, (up, layer) in enumerate(zip(self.ups, self.layers, strict=True)):
            h = layer(up(h, styles[2 * i + 1]), styles[2 * i + 2])
            with without_autocast(image):
                image = self.resample.up(image)
            image = image + clamped(self.to_rgb[i + 1](h, styles[2 * i + 3]).to(w.dtype), self.conv_clamp)
        return image

    def forward(self, z: Tensor, y: Tensor | None = None, truncation: float | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without.

        truncation ψ: w becomes w̄ + ψ·(w − w̄), with w̄ the running average of w (StyleGAN, app. B); 1 and None leave w
        unchanged, 0 gives the average image.
        """
        w = self.styles(z, y)
        return self.synthesise(self.truncate(w, truncation))

    def styles(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """`map`; in training mode mixed with the w of other latents, and updates the average of w."""
        mix = self.training and self.style_mixing > 0
        if mix:
            z, y = torch.cat([z, self.draw(torch.randn, z)]), None if y is None else torch.cat([y, y])
        w = self.map(z, y)
        other = w
        if mix:
            w, other = w.chunk(2)
        if self.training:
            with torch.no_grad():
                self.w_avg.lerp_(self.share.mean(w[:, 0].mean(0)), 1 - self.w_avg_beta)
        if mix:
            w = self._mix(w, other)
        return w

    def truncate(self, w: Tensor, truncation: float | None) -> Tensor:
        """w̄ + ψ·(w − w̄), with w̄ the running average of w and ψ = truncation; None changes nothing."""
        return w if truncation is None else torch.lerp(self.w_avg, w, truncation)

    def _mix(self, w: Tensor, other: Tensor) -> Tensor:
        """`w` up to a random layer after the first, `other` from there on; for a fraction `style_mixing` of the
        images."""
        each, layers = w[:, :1, :1], self.num_layers
        crossover = self.draw(partial(torch.randint, 1, layers), each, dtype=torch.int64)
        mixed = self.draw(torch.rand, each) < self.style_mixing
        return torch.where(mixed & (torch.arange(layers, device=w.device)[:, None] >= crossover), other, w)


class CriticBlock(Block):
    """(N, C, H, W) → (N, C', H/2, W/2): conv3, conv3 with filtered halving, leaky ReLU (0.2) after each.

    Args:
        before: C.
        after: C'.
        residual: plus a 1×1 shortcut, halved in the same way, and the sum divided by √2.
        clamp: bound of both convolutions; None: no bound.
    """

    def __init__(self, before: int, after: int, *, residual: bool, clamp: float | None = None) -> None:
        super().__init__()
        gain = math.sqrt(0.5) if residual else 1.0
        self.conv1 = EqualConv2d(before, before, 3, clamp=clamp)
        self.conv2 = EqualConv2d(before, after, 3, down=True, gain=gain, clamp=clamp)
        self.shortcut = (
            EqualConv2d(before, after, 1, bias=False, down=True, activate=False, gain=gain) if residual else None
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(self.conv1(x))
        return h if self.shortcut is None else h + self.shortcut(x)


class Head(nn.Module):
    """h (N, F), y (N,) → logit (N,): a linear layer; with classes ⟨L(h), M(y)⟩ / √F, M a `Mapping` of the label."""

    def __init__(self, features: int, classes: int, mapping_layers: int) -> None:
        super().__init__()
        self.linear = EqualLinear(features, features if classes else 1)
        self.mapping = Mapping(0, classes, features, mapping_layers) if classes else None

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        out = self.linear(h)
        if self.mapping is None:
            return out.squeeze(1)
        return (out * self.mapping(None, y)).sum(1) / math.sqrt(out.shape[1])


class Critic(Shaped):
    """Image (N, channels, size, size) in [−1, 1] → Score; its features are the input of the last linear layer.

    A 1×1 convolution, one `CriticBlock` per halving down to 4×4, minibatch standard deviation, conv3, two dense layers.

    With the minibatch standard deviation a score depends on the rest of the batch, in evaluation mode too
    (`nets.has_batch_statistics`).

    Args:
        fmap_max: maximum channels of a layer; null: 8 times model.width.
        residual: residual blocks; false: the plain network of ADA's cifar configuration.
        mbstd_group: images in a group of the minibatch standard deviation; 0: none.
        mapping_layers: with classes: layers of the label's mapping network.
        conv_clamp: bound on the output of every convolution (256 in NVIDIA's half-precision files); null: none.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        fmap_max: int | None = None,
        residual: bool = True,
        mbstd_group: int = 4,
        mapping_layers: int = 8,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__(shape)
        maps = _feature_maps(shape.size, shape.width, fmap_max)[::-1]
        _check_clamp(conv_clamp)
        if mbstd_group < 0 or mbstd_group == 1:
            raise UserError(f"mbstd_group must be 0 (none) or at least 2, got {mbstd_group}")
        self.from_rgb = EqualConv2d(shape.channels, maps[0], 1, clamp=conv_clamp)
        self.blocks = nn.Sequential(
            *(CriticBlock(maps[i], maps[i + 1], residual=residual, clamp=conv_clamp) for i in range(len(maps) - 1))
        )
        self.minibatch_stddev = MinibatchStddev(mbstd_group) if mbstd_group else nn.Identity()
        self.conv = EqualConv2d(maps[-1] + (1 if mbstd_group else 0), maps[-1], 3, clamp=conv_clamp)
        self.dense = EqualLinear(maps[-1] * SEED**2, maps[-1], activate=True)
        self.head = Head(maps[-1], shape.classes, mapping_layers)

    def stages(self) -> Stages:
        first, *others = self.blocks
        return [(self.from_rgb, first), *((block,) for block in others)]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = self.blocks(self.from_rgb(x))
        with without_autocast(h):
            h = self.conv(self.minibatch_stddev(h.to(self.conv.weight.dtype)))
            h = self.dense(h.flatten(1))
            return Score(self.head(h, y), features=h)
