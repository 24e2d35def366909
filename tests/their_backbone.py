"""A backbone outside the package, as docs/extending.md has it; not a test itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from steadygan.nets import Family, Frozen, Score, Shape, Shaped


class Generator(Shaped):
    """One dense layer."""

    def __init__(self, shape: Shape, *, gain: float = 1.0) -> None:
        super().__init__(shape)
        self.gain, self.image = gain, (shape.channels, shape.size, shape.size)
        self.linear = nn.Linear(shape.latent, shape.channels * shape.size**2)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tanh(self.gain * self.linear(z)).unflatten(1, self.image)


class Critic(Shaped):
    """A dense layer on pretrained features."""

    def __init__(self, shape: Shape, *, hidden: bool = False) -> None:
        super().__init__(shape)
        self.features = Frozen(pretrained(shape.channels))
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU()) if hidden else nn.Identity()
        self.head = nn.Linear(4, 1)

    def stages(self) -> list[tuple[nn.Module, ...]]:
        return [(self.body,)]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        h = self.body(self.features(x).mean((2, 3)))
        return Score(self.head(h).squeeze(1), features=h)


def pretrained(channels: int) -> nn.Module:
    """Features whose weights come from a source of their own: here, a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


FAMILY = Family(Generator, Critic)
