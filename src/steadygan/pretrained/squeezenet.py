"""SqueezeNet v1.0: an ImageNet extractor of 5 MB, for machines without the Inception weights."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.pretrained.extractor import Extractor, Features, load_state


class Fire(nn.Module):
    """(N, C, H, W) → (N, 2·wide, H, W): a 1×1 squeeze, then concatenated 1×1 and 3×3 expansions."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(inputs, narrow, 1)
        self.conv1x1_2 = nn.Conv2d(narrow, wide, 1)
        self.conv3x3_2 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1x1_1(x))
        return F.relu(torch.cat([self.conv1x1_2(x), self.conv3x3_2(x)], dim=1))


class SqueezeNet(nn.Module):
    """SqueezeNet v1.0 (Iandola et al. 2016, table 1): 512 features, 1,000 logits, 1.2 million parameters.

    Input (N, 3, 227, 227) float: BGR, 0 to 255, minus the mean of each channel. The features are the spatial average of
    fire9's output; the logits that of the last convolution's, after its ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fire2, self.fire3, self.fire4 = Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128)
        self.fire5, self.fire6, self.fire7 = Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192)
        self.fire8, self.fire9 = Fire(384, 64, 256), Fire(512, 64, 256)
        self.conv_final = nn.Conv2d(512, 1000, 1, padding=1)

    def forward(self, x: Tensor) -> Features:
        x = _pool(F.relu(self.conv1(x)))
        x = _pool(self.fire4(self.fire3(self.fire2(x))))
        x = _pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        x = self.fire9(x)
        return Features(x.mean((2, 3)), F.relu(self.conv_final(x)).mean((2, 3)))


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


class Squeeze(Extractor):
    """`SqueezeNet` with ImageNet weights from a file."""

    name = "squeezenet"
    input = "RGB uint8 images (N, 3, H, W)"
    resize = "bilinear 227, align_corners off, no antialias"
    classes = 1000
    imagenet = True
    variable = "STEADYGAN_SQUEEZENET_WEIGHTS"
    where = (
        "use SqueezeNet v1.0 trained on ImageNet with Caffe's preprocessing, as an .npz or .safetensors of conv1, "
        "fire2 to fire9 (conv1x1_1, conv1x1_2, conv3x3_2) and conv_final, each .weight and .bias"
    )

    def build(self, path: Path | None) -> nn.Module:
        assert path is not None
        # Channels last: these convolutions dominate the time of an evaluation on a CPU.
        return load_state(SqueezeNet(), path).to(memory_format=torch.channels_last)

    def prepare(self, images: Tensor) -> Tensor:
        x = F.interpolate(images.float(), (227, 227), mode="bilinear", align_corners=False)
        mean = torch.tensor([104.0, 117.0, 123.0], device=x.device)
        return (x.flip(1) - mean[:, None, None]).contiguous(memory_format=torch.channels_last)
