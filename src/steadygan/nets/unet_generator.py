"""The U-Net generator of pix2pix: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, CVPR
2017, app. 6.1. Its discriminator is the PatchGAN of `translate`.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.translate import LEAST_SIDE, SLOPE, Norm, _initialise, _norm

WIDEST = 8
DROPPED = 3


class Generator(Shaped):
    """Image (N, channels, H, W) in [−1, 1] → image of the same shape in [−1, 1].

    `depth` 4×4 convolutions of stride 2 with width, 2·width, 4·width, 8·width, 8·width, … channels downsample, as many
    transposed ones upsample; each of the latter except the first also takes the encoder's map of that side:
    C64-C128-C256-C512-C512-C512-C512-C512 and CD512-CD512-CD512-C512-C256-C128-C64 in the paper's notation. LeakyReLU
    0.2 in the encoder, ReLU in the decoder, tanh at the end. No norm after the first, the innermost and the last
    convolution. The paper keeps dropout when it samples, as its only noise. Images whose sides are not multiples of
    2^depth are padded with their edge and the result is cropped. Raises UserError for an invalid option, ValueError for
    an image with a side below `LEAST_SIDE`.

    Args:
        depth: number of convolutions in each half; null: log2 of the side, down to one pixel.
        norm: batch (the paper's), instance or none.
        dropout: dropout probability after the decoder's first three layers, in training mode.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        depth: int | None = None,
        norm: Norm = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(shape)
        size, channels, width = shape.size, shape.channels, shape.width
        if shape.classes or shape.latent:
            raise UserError("a translation is unconditional; set model.conditional=false")
        depth = size.bit_length() - 1 if depth is None else depth
        if depth < 2 or size < 1 << depth:
            raise UserError(f"depth must be between 2 and log2 of the size, got {depth} at {size} pixels")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.depth = depth
        widths = [channels, *(width * min(2**level, WIDEST) for level in range(depth))]
        bias = norm != "batch"  # which a batch norm would cancel
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(itertools.pairwise(widths)):
            layers: list[nn.Module] = [nn.LeakyReLU(SLOPE)] if level else []
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)]
            layers += _norm(norm, after) if 0 < level < depth - 1 else []
            self.down.append(nn.Sequential(*layers))
        for level in range(depth, 0, -1):
            before, last = widths[level] * (1 if level == depth else 2), level == 1
            layers = [
                nn.ReLU(),
                nn.ConvTranspose2d(before, widths[level - 1], 4, stride=2, padding=1, bias=bias or last),
            ]
            layers += [] if last else _norm(norm, widths[level - 1])
            layers += [nn.Dropout(dropout)] if dropout and depth - level < DROPPED and not last else []
            self.up.append(nn.Sequential(*layers))
        _initialise(self)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y is ignored.

        Raises:
            ValueError: a side is below `LEAST_SIDE`.
        """
        height, width = x.shape[2:]
        if min(height, width) < LEAST_SIDE:
            raise ValueError(f"an image of {width}×{height} pixels is too small: sides must be at least {LEAST_SIDE}")
        multiple = 1 << self.depth
        right, bottom = -width % multiple, -height % multiple
        h = F.pad(x, (0, right, 0, bottom), mode="replicate") if right or bottom else x
        skips = []
        for down in self.down:
            h = down(h)
            skips.append(h)
        h = skips.pop()
        for up in self.up:
            h = up(h)
            if skips:
                h = torch.cat([skips.pop(), h], 1)
        return torch.tanh(h)[:, :, :height, :width]
