"""Two small residual networks for colour images of 32 to 64 pixels, with weights in the package: `Tiny` scores images,
`TinyMaps` serves a discriminator. The first was trained further from the weights of the second, so that no generator is
scored by the very features that it was trained against.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from steadygan.errors import UserError
from steadygan.pretrained.extractor import Extractor, Features, load_state

WEIGHTS, MAPS = (Path(__file__).with_name(f"{name}.safetensors") for name in ("tiny", "tiny_maps"))
FEATURES = 128
LAST = 160
"""Channels of `TinyNet`'s last block."""
SMALLEST, LARGEST = 32, 64
"""Sides of its training images, in pixels."""


class Block(nn.Module):
    """(N, C, H, W) → (N, `outputs`, H/2, W/2): two 3×3 convolutions, and a 1×1 shortcut of the averaged input. The
    shortcut averages before subsampling (He et al. 2019, "Bag of tricks", ResNet-D).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)

    def fused(self) -> Block:
        """The same block with batch norms (in evaluation mode) folded into convolutions."""
        for conv, norm in (("conv1", "norm1"), ("conv2", "norm2"), ("shortcut", "norm3")):
            setattr(self, conv, fuse_conv_bn_eval(getattr(self, conv), getattr(self, norm)))
            setattr(self, norm, nn.Identity())
        return self

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.norm3(self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True))))


class Trunk(nn.Module):
    """(N, 3, H, W) float in [-1, 1] → three maps: 32 channels, then 64 and 128 at a half and a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.blocks = nn.Sequential(Block(32, 64), Block(64, FEATURES))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.relu(self.norm(self.stem(x)))]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


class TinyNet(nn.Module):
    """Residual network of 0.77 million parameters: (N, 3, H, W) float in [-1, 1] → `Features` (N, 128).

    It imitates the 128 strongest principal components of SqueezeNet's features (benchmarks/tiny_extractor.py), scaled
    to a total variance of 1 over its training images, by a linear layer on the spatial averages of all its maps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.last = Block(FEATURES, LAST)
        self.head = nn.Linear(32 + 64 + FEATURES + LAST, FEATURES)

    def forward(self, x: Tensor) -> Features:
        maps = self.trunk(x)
        averages = torch.cat([h.mean((2, 3)) for h in (*maps, self.last(maps[-1]))], 1)
        features = self.head(averages) / FEATURES**0.5
        return Features(features, features[:, :0])


class TinyMaps(nn.Module):
    """Two maps of a `Trunk` for a discriminator: x (N, 3, S, S) in [-1, 1] → 64 and 128 channels.

    benchmarks/tiny_maps.py trained it, with one more block, to classify CIFAR-10 and Imagenette.
    The image is first downsampled by averaging until its side is below 64. channels, sides: of the maps, from fine to
    coarse.

    Raises:
        UserError: the images are too small.
    """

    channels = (64, FEATURES)

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < SMALLEST:
            raise UserError(
                f"model.features=tiny needs images of {SMALLEST} pixels or more, not {size}; set model.features=null"
            )
        self.factor = 1
        while size // self.factor >= LARGEST:
            self.factor *= 2
        side = size // self.factor
        self.sides = ((side + 1) // 2, (side + 3) // 4)
        net = Trunk().to_empty(device="cpu")  # on the meta device as well
        load_state(net, MAPS).eval()
        self.stem = fuse_conv_bn_eval(net.stem, net.norm)
        self.blocks = nn.ModuleList(block.fused() for block in net.blocks if isinstance(block, Block))
        self.to(torch.get_default_device())

    def forward(self, x: Tensor) -> list[Tensor]:
        h = F.relu(self.stem(F.avg_pool2d(x, self.factor)))
        maps = []
        for block in self.blocks:
            h = block(h)
            maps.append(h)
        return maps


class Tiny(Extractor):
    """`TinyNet` with the weights in the package."""

    name = "tiny"
    input = "RGB uint8 images (N, 3, S, S), resized to 32 to 64 pixels"
    resize = f"bicubic {LARGEST} where larger, {SMALLEST} where smaller, antialiased, rounded to uint8"
    cpu_batch = 32
    weights = WEIGHTS

    def build(self, path: Path | None) -> nn.Module:
        assert path is not None
        return load_state(TinyNet(), path).to(memory_format=torch.channels_last)

    def prepare(self, images: Tensor) -> Tensor:
        x = images.float()
        side = min(max(x.shape[-1], SMALLEST), LARGEST)
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).round().clamp(0, 255)
        return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)
