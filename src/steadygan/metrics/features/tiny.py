"""The small network for colour images that comes with the package: an extractor that needs no file."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.metrics.features.extractor import Extractor, load_state
from steadygan.pretrained.tiny import LARGEST, SMALLEST, WEIGHTS, TinyNet


class Tiny(Extractor):
    """`TinyNet` with the weights that come with the package."""

    name = "tiny"
    input = "RGB uint8 images (N, 3, S, S), of which it looks at 32 to 64 pixels a side"
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
