"""The SNGAN ResNets, as in their authors' public code: 32² for CIFAR-10, 64² and 128² for ImageNet; 48² for STL-10.

Sources: Miyato et al., Spectral Normalization for GANs, ICLR 2018 (Table 5 for 48²); Miyato and Koyama, cGANs with
Projection Discriminator, ICLR 2018; pfnet-research/sngan_projection.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.nets.batch_norm import batch_norm
from steadygan.nets.layers import Conv2d, Embedding, Linear, Projection, Score, at_size, set_sn_gain
from steadygan.nets.protocols import Stages
from steadygan.nets.recompute import Block
from steadygan.nets.resample import DownConv2d, UpConv2d, downsample, upsample
from steadygan.nets.shape import Shape, Shaped
from steadygan.nets.spectral_norm import WARM_UP_ITERATIONS, Spectral, advance_spectral_norm

SEED = 4
SEEDS = {48: 6}
"""The side of the generator's first map, where it is not SEED."""
BATCH_NORM_EPS = 2e-5

# Multiples of `width`: the generator's seed and the output of each block (all of them double the side) ...
GENERATOR_WIDTHS = {32: (4, 4, 4, 4), 48: (8, 4, 2, 1), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}
# ... and the output of each block of D, with the number of blocks, from the first, that halve the side.
CRITIC_WIDTHS = {
    32: ((2, 2, 2, 2), 2),
    48: ((1, 2, 4, 8, 16), 4),
    64: ((1, 2, 4, 8, 16), 5),
    128: ((1, 2, 4, 8, 16, 16), 5),
}


def _initialise(network: nn.Module) -> None:
    """Glorot uniform, times √2 in the two convolutions of each residual branch; biases 0."""
    for name, layer in network.named_modules():
        if isinstance(layer, Conv2d | Linear | Embedding):
            residual = name.endswith((".conv1", ".conv2"))
            nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2) if residual else 1.0)
            if not isinstance(layer, Embedding) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    advance_spectral_norm(network, WARM_UP_ITERATIONS)


class UpBlock(Block):
    """(N, C, H, W) → (N, C', 2H, 2W): BN, ReLU, ×2, conv3, BN, ReLU, conv3, plus a 1×1 shortcut, ×2.

    Args:
        before: C.
        after: C'.
        classes: number of classes of SNGAN's batch norms; 0: unconditional.
        norm: builds the two norms, called with (x, y), for a number of channels; None: SNGAN's.
        spectral: spectral norm of the convolutions.
    """

    def __init__(
        self,
        before: int,
        after: int,
        classes: int = 0,
        *,
        norm: Callable[[int], nn.Module] | None = None,
        spectral: Spectral,
    ) -> None:
        super().__init__()
        norm = norm or functools.partial(batch_norm, classes=classes, eps=BATCH_NORM_EPS)
        self.norm1 = norm(before)
        self.conv1 = UpConv2d(before, after, spectral=spectral)
        self.norm2 = norm(after)
        self.conv2 = Conv2d(after, after, 3, padding=1, spectral=spectral)
        self.shortcut = Conv2d(before, after, 1, spectral=spectral)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.conv1(self.norm1(x, y), rectify=True)
        h = self.conv2(self.norm2(h, y), rectify=True)
        # Nearest upsampling commutes with a 1×1 convolution, which then costs a quarter.
        return h + upsample(self.shortcut(x))


class DownBlock(Block):
    """(N, C, H, W) → (N, C', H/2, W/2): ReLU, conv3, ReLU, conv3, mean pooling, plus a 1×1 shortcut, pooled.

    Args:
        before: C.
        after: C'.
        down: halve the sides. Without it there is no pooling, and with C = C' the shortcut is the identity.
        first: D's first block, which gets the image: no ReLU before its first convolution, and always wide.
        wide: the middle has C' channels (SAGAN's and BigGAN's) instead of C.
        spectral: spectral norm of the convolutions.
    """

    def __init__(
        self,
        before: int,
        after: int,
        *,
        down: bool,
        first: bool = False,
        wide: bool = False,
        spectral: Spectral,
    ) -> None:
        super().__init__()
        middle = after if first or wide else before
        self.down, self.first = down, first
        self.conv1 = Conv2d(before, middle, 3, padding=1, spectral=spectral)
        self.conv2 = (
            DownConv2d(middle, after, spectral=spectral)
            if down
            else Conv2d(middle, after, 3, padding=1, spectral=spectral)
        )
        self.shortcut = Conv2d(before, after, 1, spectral=spectral) if down or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x, rectify=not self.first)
        h = self.conv2(h, rectify=True)
        if not self.down:
            return h + self.shortcut(x)
        # Mean pooling commutes with a 1×1 convolution, which then costs a quarter.
        return h + self.shortcut(downsample(x))


class Generator(Shaped):
    """Latent (N, latent) → image (N, channels, size, size) in [−1, 1].

    A linear layer to a 4×4 map (6×6 at 48²), one `UpBlock` per doubling, then BN (unconditional), ReLU, conv3, tanh.
    `width` 64 is the published one at every size: 256 channels throughout at 32², 512 down to 64 at 48², 1024 down to
    64 above.

    Args:
        sn_generator: spectral norm on every layer of G.
        sn_eps: ε of spectral norm's divisions.
    """

    def __init__(self, shape: Shape, *, sn_generator: bool = False, sn_eps: float = 1e-12) -> None:
        super().__init__(shape)
        spectral = Spectral(sn_generator, sn_eps)
        widths = [multiple * shape.width for multiple in at_size(GENERATOR_WIDTHS, shape.size)]
        self.seed = SEEDS.get(shape.size, SEED)
        self.linear = Linear(shape.latent, widths[0] * self.seed**2, spectral=spectral)
        self.blocks = nn.ModuleList(
            UpBlock(before, after, shape.classes, spectral=spectral) for before, after in itertools.pairwise(widths)
        )
        self.norm = batch_norm(widths[-1], 0, BATCH_NORM_EPS)
        self.out = Conv2d(widths[-1], shape.channels, 3, padding=1, spectral=spectral)
        _initialise(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: (N, latent); y: (N,) int64, required with classes and ignored without."""
        h = self.linear(z).view(z.shape[0], -1, self.seed, self.seed)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.out(F.relu(self.norm(h))))


class Critic(Shaped):
    """Image (N, channels, size, size) in [−1, 1] → Score, its features ReLU maps *summed* over space (N, F).

    `width` 64 is the published one at every size: 128 channels throughout at 32², 64 to 1024 above.
    The last linear layer has no bias at 32² and has one at 64² and 128², as in the authors' code, and at 48².

    Args:
        sn_critic: spectral norm on every layer of D.
        sn_eps: ε of spectral norm's divisions.
        sn_gain: factor on every spectrally normalised weight; above 1, the logits of a deep D differ more between
            images.
    """

    def __init__(self, shape: Shape, *, sn_critic: bool = True, sn_eps: float = 1e-12, sn_gain: float = 1.0) -> None:
        super().__init__(shape)
        spectral = Spectral(sn_critic, sn_eps)
        multiples, downs = at_size(CRITIC_WIDTHS, shape.size)
        widths = [shape.channels, *(multiple * shape.width for multiple in multiples)]
        self.blocks = nn.ModuleList(
            DownBlock(before, after, down=i < downs, first=i == 0, spectral=spectral)
            for i, (before, after) in enumerate(itertools.pairwise(widths))
        )
        self.head = Projection(widths[-1], shape.classes, bias=shape.size != 32, spectral=spectral)
        _initialise(self)
        set_sn_gain(self, sn_gain)

    def stages(self) -> Stages:
        return [(block,) for block in self.blocks]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        """x: (N, channels, size, size); y: (N,) int64, required with classes and ignored without."""
        h = x
        for block in self.blocks:
            h = block(h)
        h = F.relu(h).sum((2, 3))
        return Score(self.head(h, y), features=h)
