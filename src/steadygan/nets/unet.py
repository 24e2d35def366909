"""U-Net GAN's critic: Schönfeld, Schiele and Khoreva, A U-Net Based Discriminator for GANs, CVPR 2020.

BigGAN's discriminator becomes the encoder of a U-Net, whose decoder scores every pixel. Tables and details from the
authors' code (boschresearch/unetgan) for 128² and 256²; those of 64² and 32² follow their pattern. The generator is
BigGAN's, in their runs without attention.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.nets.attention import attention_after
from steadygan.nets.biggan import initialise
from steadygan.nets.labels import required
from steadygan.nets.layers import Conv2d, Embedding, Projection, Score, at_size
from steadygan.nets.protocols import Stages
from steadygan.nets.resnet import DownBlock, UpBlock
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.spectral_norm import Spectral

# Multiples of `width`: the output of each encoder block. All halve the side; BigGAN's last block, which does not, is
# omitted. The decoder mirrors them and ends at 1.
ENCODER_WIDTHS = {
    32: (1, 2, 4),
    64: (1, 2, 4, 8),
    128: (1, 2, 4, 8, 16),
    256: (1, 2, 4, 8, 8, 16),
}


class Unnormalised(nn.Module):
    """Identity in place of a batch norm, which D does not have."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x


class Critic(Shaped):
    """Image (N, channels, size, size) in [−1, 1] → Score with a logit per image and one per pixel.

    The encoder's 4×4 map gives `features`, its ReLU summed over space (N, F), and from them the `logit` (projection
    head). Decoder blocks (ReLU, ×2, conv3, ReLU, conv3, plus a 1×1 shortcut, ×2; no batch norm) restore the full size;
    all but the first also take the encoder's map of that side. `pixels` (N, 1, size, size) are a 1×1 convolution,
    without spectral norm, of the last map h, plus ⟨e_y, h⟩ at each pixel when there are classes. `width` 64 is the
    published one. The authors' runs have no attention.

    Args:
        attention: sides of the encoder's feature maps, in pixels, that self-attention follows; 0: none.
        init: initialisation of weights: orthogonal, normal (N(0, 0.02²)) or xavier.
        sn_critic: spectral norm on every layer of D.
        sn_eps: ε of spectral norm's divisions.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        attention: int | Sequence[int] = 0,
        init: str = "orthogonal",
        sn_critic: bool = True,
        sn_eps: float = 1e-8,
    ) -> None:
        super().__init__(shape)
        size, channels, classes, width = shape.size, shape.channels, shape.classes, shape.width
        multiples = at_size(ENCODER_WIDTHS, size)
        spectral = Spectral(sn_critic, sn_eps)
        down = [channels, *(multiple * width for multiple in multiples)]
        self.encoder = nn.ModuleList(
            DownBlock(before, after, down=True, first=i == 0, wide=True, spectral=spectral)
            for i, (before, after) in enumerate(itertools.pairwise(down))
        )
        sides = [size >> i + 1 for i in range(len(multiples))]
        self.attention = attention_after(attention, sides, down[1:], spectral=spectral)
        self.head = Projection(down[-1], classes, spectral=spectral)
        up = [*down[-2:0:-1], width]
        self.decoder = nn.ModuleList(
            UpBlock(down[-1] if i == 0 else 2 * up[i - 1], after, norm=lambda _: Unnormalised(), spectral=spectral)
            for i, after in enumerate(up)
        )
        self.out = Conv2d(width, 1, 1)
        self.pixel_embedding = Embedding(classes, width, spectral=spectral) if classes else None
        initialise(self, init)

    def stages(self) -> Stages:
        return list(zip(self.encoder, self.attention, strict=True))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h, skips = x, []
        for block, attention in zip(self.encoder, self.attention, strict=True):
            h = attention(block(h))
            skips.append(h)
        features = F.relu(h).sum((2, 3))
        for place, block in enumerate(self.decoder):
            if place:
                h = torch.cat([h, skips[-1 - place]], dim=1)
            h = block(h)
        weight = self.out.kernel().view(1, -1)
        if self.pixel_embedding is not None:
            weight = weight + self.pixel_embedding(required(y))
        # A product and a sum stay in full precision under autocast, see `Projection`.
        pixels = (h * weight[:, :, None, None]).sum(1, keepdim=True) + self.out.bias  # type: ignore[operator]
        return Score(self.head(features, y), features=features, pixels=pixels)
