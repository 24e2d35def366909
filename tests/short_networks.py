"""Two layers of the package's in each network, for what takes seconds a layer; not a test itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.nets import Family, Score, Shape, Shaped
from steadygan.nets.batch_norm import batch_norm
from steadygan.nets.layers import Conv2d, Linear, Projection
from steadygan.nets.spectral_norm import Spectral


class Generator(Shaped):
    """A linear layer with batch norm, then a transposed convolution."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.seed = shape.size // 2
        self.linear = Linear(shape.latent, shape.width * self.seed**2)
        self.norm = batch_norm(shape.width, shape.classes, 1e-5)
        self.out = nn.ConvTranspose2d(shape.width, shape.channels, 4, stride=2, padding=1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.linear(z).unflatten(1, (-1, self.seed, self.seed))
        return torch.tanh(self.out(F.relu(self.norm(h, y))))


class Critic(Shaped):
    """A convolution and a projection, both with spectral norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        spectral = Spectral()
        self.conv = Conv2d(shape.channels, shape.width, 4, stride=2, padding=1, spectral=spectral)
        self.head = Projection(shape.width, shape.classes, spectral=spectral)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        h = F.leaky_relu(self.conv(x), 0.1).sum((2, 3))
        return Score(self.head(h, y), features=h)


FAMILY = Family(Generator, Critic)
