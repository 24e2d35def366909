"""A discriminator that also scores features of a pretrained network.

Kumari et al., Ensembling Off-the-shelf Models for GAN Training, CVPR 2022: small discriminators on features of frozen
networks complement the one on pixels. They use several scales, as in Sauer et al., Projected GANs Converge Faster,
NeurIPS 2021, but without random projections.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.nets.frozen import Frozen
from steadygan.nets.layers import Conv2d, Embedding, Score
from steadygan.nets.protocols import Staged
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.spectral_norm import Spectral
from steadygan.options import find
from steadygan.pretrained.tiny import TinyMaps

WIDTH = 64
"""Channels of a head."""
SIDE = 4
"""Maximum side of a head's map of logits."""


class Maps(Protocol):
    """A pretrained network x (N, 3, S, S) in [-1, 1] → feature maps (N, C, s, s), from fine to coarse.

    It is constructed from the images' side S and declares `channels` and `sides` of its maps.
    """

    channels: tuple[int, ...]
    sides: tuple[int, ...]

    def __call__(self, x: Tensor) -> list[Tensor]: ...


FEATURES: Mapping[str, type[nn.Module]] = MappingProxyType({"tiny": TinyMaps})


class Head(nn.Module):
    """(N, C, s, s) → logits (N, h, h): convolutions of stride 2, then a projection of the features at each position."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        spectral = Spectral()
        self.convs = nn.ModuleList()
        while side > SIDE:
            self.convs.append(Conv2d(channels, WIDTH, 4, stride=2, padding=1, spectral=spectral))
            channels, side = WIDTH, side // 2
        self.out = Conv2d(channels, 1, 1, spectral=spectral)
        self.embedding = Embedding(classes, channels, spectral=spectral) if classes else None

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        for conv in self.convs:
            h = F.leaky_relu(conv(h), 0.2)
        logit = self.out(h)[:, 0]
        return logit if self.embedding is None else logit + torch.einsum("nchw,nc->nhw", h, self.embedding(y))


class FeatureCritic(Shaped):
    """Image → Score of D and of heads on frozen features: logits (N, 1, 2, k), one row each, with equal weights.

    The first row repeats D's logit, the second has the heads' logits. `features` and `pixels` are the discriminator's.
    """

    def __init__(self, shape: Shape, plain: nn.Module, features: str) -> None:
        """Builds the heads.

        Args:
            shape: of the images and classes.
            plain: the discriminator on pixels, with one logit per image.
            features: a name from `FEATURES`, or a custom class with the interface `Maps` as `module:NAME`.
        """
        super().__init__(shape)
        kind = find(features, FEATURES, where="model.features", noun="pretrained network")
        maps = kind(shape.size)
        self.plain = plain
        self.pretrained = Frozen(maps)
        self.heads = nn.ModuleList(
            Head(channels, side, shape.classes) for channels, side in zip(maps.channels, maps.sides, strict=True)
        )
        if isinstance(plain, Staged):
            self.stages = plain.stages

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without.

        Raises:
            UserError: the discriminator has several logits per image.
        """
        score = self.plain(x, y)
        if score.logit.ndim != 1:
            raise UserError("model.features needs a discriminator with one logit per image; set it to null")
        maps = self.pretrained(x.expand(-1, 3, -1, -1))
        heads = torch.cat([head(h, y).flatten(1) for head, h in zip(self.heads, maps, strict=True)], 1)
        return score._replace(logit=torch.stack([score.logit[:, None].expand_as(heads), heads], 1)[:, None])
