"""BigGAN: Brock, Donahue and Simonyan, Large Scale GAN Training for High Fidelity Natural Image Synthesis, ICLR 2019.

Tables from the authors' public codes (ajbrock/BigGAN-PyTorch; google/compare_gan for D at 512²). With BigGAN's
additions switched off these are the networks of SAGAN (Zhang, Goodfellow, Metaxas and Odena, Self-Attention Generative
Adversarial Networks, ICML 2019): no shared embedding or latent chunks but per-class tables in the conditional batch
norms, and Glorot initialisation, as in the authors' code for 128² (brain-research/self-attention-gan); its published
width is 64, its latent 128. The tables of its other sizes are BigGAN's. One deviation: running statistics of batch
norms have torch's momentum of 0.1 and not that code's 0.001.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError, nearest
from steadygan.nets.attention import attention_after
from steadygan.nets.batch_norm import ConditionalBatchNorm2d, ModulatedBatchNorm2d, batch_norm
from steadygan.nets.labels import required
from steadygan.nets.layers import Conv2d, Embedding, Linear, Projection, Score, at_size
from steadygan.nets.protocols import Stages
from steadygan.nets.resnet import SEED, DownBlock, UpBlock
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.spectral_norm import WARM_UP_ITERATIONS, Spectral, advance_spectral_norm

CLASS_EMBEDDING = 128
Places = int | Sequence[int] | Literal["quarter"] | None
"""Sides of feature maps with attention, in pixels; see `sides_with_attention`."""

# Multiples of `width`: the generator's seed and the output of each block (all of them double the side) ...
GENERATOR_WIDTHS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
# StudioGAN's at 64², which is the SNGAN's.
NARROW_WIDTHS = {**GENERATOR_WIDTHS, 64: (16, 8, 4, 2, 1)}
# ... and the output of each block of D, with the number of blocks, from the first, that halve the side.
CRITIC_WIDTHS = {
    32: ((4, 4, 4, 4), 2),
    64: ((1, 2, 4, 8, 16), 4),
    128: ((1, 2, 4, 8, 16, 16), 5),
    256: ((1, 2, 4, 8, 8, 16, 16), 6),
    512: ((1, 1, 2, 4, 8, 8, 16, 16), 7),
}

INITIALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": nn.init.orthogonal_,
    "normal": functools.partial(nn.init.normal_, std=0.02),
    "xavier": nn.init.xavier_uniform_,
}


def sides_with_attention(places: Places, size: int) -> int | Sequence[int]:
    """None: 64 for images of 128 pixels and more, none below; "quarter": a quarter of the image's side (SAGAN: 32 at
    128)."""
    if places is None:
        return 64 if size >= 128 else 0
    return size // 4 if isinstance(places, str) else places


def initialise(network: nn.Module, init: str) -> None:
    """Initialises weights and embeddings with `init`; biases are 0.

    Per-class gains (around 1) and biases of batch norms are also drawn like weights, as in BigGAN-PyTorch; with
    "xavier" they stay at 1 and 0, as in SAGAN's code. Raises UserError for an `init` that does not exist.
    """
    if init not in INITIALISERS:
        raise UserError(f"init: unknown initialisation {init!r}; {nearest(str(init), INITIALISERS)}")
    draw = INITIALISERS[init]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, Conv2d | Linear | Embedding):
                draw(layer.weight)
                if not isinstance(layer, Embedding) and layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, ConditionalBatchNorm2d) and init != "xavier":
                draw(layer.gamma).add_(1)
                draw(layer.beta)
    advance_spectral_norm(network, WARM_UP_ITERATIONS)


def check_chunks(latent: int, chunks: int) -> None:
    """Raises UserError, suggesting valid values, if `latent` is not a multiple of `chunks`."""
    if latent % chunks:
        below, above = latent // chunks * chunks, (latent // chunks + 1) * chunks
        fitting = f"{below} or {above}" if below else f"{above}"
        raise UserError(
            f"skip_z cuts the latent into {chunks} equal chunks at this size, so model.latent must be a "
            f"multiple of {chunks} ({fitting}, say), got {latent}; or set skip_z: false"
        )


class Attentive(Shaped):
    """What the networks of BigGAN and of BigGAN-deep have in common: attention, initialisation, spectral norm.

    Args:
        attention: sides of the feature maps, in pixels, that self-attention follows; null: 64 from 128² images on, none
            below; 0: none; quarter: a quarter of the image's side.
        init: initialisation of weights: orthogonal, normal (N(0, 0.02²)) or xavier.
        sn_eps: ε of spectral norm's divisions.
    """

    def __init__(
        self, shape: Shape, *, attention: Places = None, init: str = "orthogonal", sn_eps: float = 1e-8
    ) -> None:
        super().__init__(shape)
        self.sides, self.init, self.sn_eps = sides_with_attention(attention, shape.size), init, sn_eps


class Conditioned(Attentive):
    """What the generators of BigGAN and of BigGAN-deep have in common besides: class embedding and batch norms.

    Args:
        class_embedding: dimension of the class embedding.
        sn_generator: spectral norm on every layer of G.
        bn_eps: ε of batch norm.

    Raises:
        UserError: class_embedding is not positive.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        class_embedding: int = CLASS_EMBEDDING,
        sn_generator: bool = True,
        bn_eps: float = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__(shape, **options)
        if class_embedding < 1:
            raise UserError(f"class_embedding must be at least 1, got {class_embedding}")
        self.class_embedding, self.sn_generator, self.bn_eps = class_embedding, sn_generator, bn_eps


class Generator(Conditioned):
    """Latent (N, latent) → image (N, channels, size, size) in [−1, 1].

    A linear layer to a 4×4 map, one `UpBlock` per doubling, then BN (unconditional), ReLU, conv3, tanh. Conditioning of
    the blocks' batch norms:

    - with classes, a 128-d class embedding `shared` by all norms, which project it, linearly, to gains and biases;
      not `shared`: a table of gains and biases per norm (the CIFAR-10 script of BigGAN-PyTorch);
    - with `skip_z` the latent is cut into equal chunks, one for the linear layer and one per block, which is
      concatenated to the class embedding. The published latents are 120, 140 and 160 at 128², 256², 512²;
    - without classes `skip_z` gives the whole latent to the linear layer and, through two linear layers without
      spectral norm and a ReLU between them, to each norm (self-modulation, as in U-Net GAN's code); without it,
      or with classes and neither option, the latent enters at the linear layer only.

    `width` 96 is the published one, 64 that of the CIFAR-10 script. At 256² the released generator has attention at
    128² and not at 64², which costs sixteen times the memory.

    Args:
        shared: one class embedding for all batch norms; false: a table of gains and biases per batch norm.
        skip_z: a chunk of the latent goes to every block; without classes, the whole latent (self-modulation).
        narrow: at 64², the feature maps of SNGAN, as in StudioGAN.
        **options: those of every generator of the family.

    Raises:
        UserError: an option is invalid or does not fit the shape.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        shared: bool = True,
        skip_z: bool = True,
        narrow: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(shape, **options)
        size, classes, latent = shape.size, shape.classes, shape.latent
        table = NARROW_WIDTHS if narrow else GENERATOR_WIDTHS
        widths = [multiple * shape.width for multiple in at_size(table, size)]
        blocks = len(widths) - 1
        self.chunks = 1
        if classes and skip_z:
            if not shared:
                raise UserError("skip_z needs shared: true, or set skip_z: false as well")
            self.chunks = 1 + blocks
            check_chunks(latent, self.chunks)
        self.modulated = skip_z and not classes
        self.embedding = Embedding(classes, self.class_embedding) if classes and shared else None
        condition = self.class_embedding + (latent // self.chunks if self.chunks > 1 else 0)
        spectral = Spectral(self.sn_generator, self.sn_eps)

        def from_class(features: int) -> nn.Module:
            return Linear(condition, features, bias=False, spectral=spectral)

        def from_latent(features: int) -> nn.Module:
            return nn.Sequential(Linear(latent, latent), nn.ReLU(), Linear(latent, features, bias=False))

        def norm(features: int) -> nn.Module:
            if self.embedding is not None or self.modulated:
                project = from_latent if self.modulated else from_class
                return ModulatedBatchNorm2d(features, project, eps=self.bn_eps)
            return batch_norm(features, classes, self.bn_eps)

        self.linear = Linear(latent // self.chunks, widths[0] * SEED**2, spectral=spectral)
        self.blocks = nn.ModuleList(
            UpBlock(before, after, norm=norm, spectral=spectral) for before, after in itertools.pairwise(widths)
        )
        self.attention = attention_after(
            self.sides,
            [SEED * 2 ** (i + 1) for i in range(blocks)],
            widths[1:],
            spectral=spectral,
        )
        self.norm = batch_norm(widths[-1], 0, self.bn_eps)
        self.out = Conv2d(widths[-1], shape.channels, 3, padding=1, spectral=spectral)
        initialise(self, self.init)

    def conditions(self, z: Tensor, y: Tensor | None) -> tuple[Tensor, Sequence[Tensor | None]]:
        """The inputs of the linear layer, (N, latent or chunk), and of each block's norms."""
        blocks = len(self.blocks)
        if self.embedding is None:
            return z, [z if self.modulated else y] * blocks
        label = self.embedding(required(y))
        if self.chunks == 1:
            return z, [label] * blocks
        seed, *rest = z.chunk(self.chunks, dim=1)
        return seed, [torch.cat([label, chunk], dim=1) for chunk in rest]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without."""
        seed, conditions = self.conditions(z, y)
        h = self.linear(seed).view(z.shape[0], -1, SEED, SEED)
        for block, attention, condition in zip(self.blocks, self.attention, conditions, strict=True):
            h = attention(block(h, condition))
        return torch.tanh(self.out(F.relu(self.norm(h))))


class Critic(Attentive):
    """Image (N, channels, size, size) in [−1, 1] → Score, its features ReLU maps *summed* over space (N, F).

    `DownBlock`s down to 4×4 (8×8 at 32²), the last of them (two at 32²) without pooling; projection head. `width` 96
    is the published one.

    Args:
        wide: the middle of a block has as many channels as its end; false: as its start.
        sn_critic: spectral norm on every layer of D.
        **options: those of every network of the family.
    """

    def __init__(self, shape: Shape, *, wide: bool = True, sn_critic: bool = True, **options: Any) -> None:
        super().__init__(shape, **options)
        multiples, downs = at_size(CRITIC_WIDTHS, shape.size)
        widths = [shape.channels, *(multiple * shape.width for multiple in multiples)]
        spectral = Spectral(sn_critic, self.sn_eps)
        self.blocks = nn.ModuleList(
            DownBlock(before, after, down=i < downs, first=i == 0, wide=wide, spectral=spectral)
            for i, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.attention = attention_after(
            self.sides,
            [shape.size >> min(i + 1, downs) for i in range(len(multiples))],
            widths[1:],
            spectral=spectral,
        )
        self.head = Projection(widths[-1], shape.classes, spectral=spectral)
        initialise(self, self.init)

    def stages(self) -> Stages:
        return list(zip(self.blocks, self.attention, strict=True))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = x
        for block, attention in zip(self.blocks, self.attention, strict=True):
            h = attention(block(h))
        h = F.relu(h).sum((2, 3))
        return Score(self.head(h, y), features=h)
