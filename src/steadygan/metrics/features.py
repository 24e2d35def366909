"""Feature extractors: the fixed networks through which scores see images.

A new extractor is one subclass of `Extractor` and one entry in `EXTRACTORS`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from steadygan.errors import UserError, nearest


class Features(NamedTuple):
    """What an extractor makes of N images: `features` (N, F) and class `logits` (N, K), float32."""

    features: Tensor
    logits: Tensor


class DigitsNet(nn.Module):
    """Classifier of grey digits with 64 penultimate features (non-negative) and 44 thousand parameters.

    Input (N, 1, 32, 32) float in [-1, 1]. Trained on scikit-learn's digits by
    benchmarks/digits_classifier.py.
    """

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
            return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

        self.body = nn.Sequential(
            *block(1, 16, kernel=3, stride=2, padding=1),
            *block(16, 24, kernel=3, stride=2, padding=1),
            *block(24, 32, kernel=3, stride=2, padding=1),
            # A full 4×4 kernel and not average pooling: the features must notice a stroke in the wrong place.
            *block(32, 64, kernel=4, stride=1, padding=0),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Features:
        features = self.body(x)
        return Features(features, self.head(features))


class Extractor(ABC):
    """A frozen network from uint8 images to features and logits, in eval mode and float32 on its device.

    Subclasses say what they read (`channels`, `size` and, in words, `input`), how many `classes` their logits
    are for, where their `weights` are, which network these fit (`build`), and how uint8 becomes what that was
    trained on (`prepare`). `sha256` is the digest of the weights file.
    """

    name: ClassVar[str]
    input: ClassVar[str]
    channels: ClassVar[int]
    size: ClassVar[int]
    classes: ClassVar[int]
    weights: ClassVar[Path]

    def __init__(self, device: str | torch.device = "cpu") -> None:
        network = self.build()
        network.load_state_dict(load_file(self.weights))
        self.device = torch.device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.sha256 = hashlib.sha256(self.weights.read_bytes()).hexdigest()

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, whose forward returns `Features`."""

    @abstractmethod
    def prepare(self, images: Tensor) -> Tensor:
        """uint8 NCHW on the device → the network's float input."""

    @torch.no_grad()
    def __call__(self, images: Tensor, batch_size: int = 256) -> Features:
        """Features and logits of uint8 images (N, channels, size, size), on the CPU.

        Raises UserError for images of another type, shape or size: what is fed to an extractor is part of the
        score, so nothing is converted here.
        """
        expected = (self.channels, self.size, self.size)
        if images.dtype != torch.uint8 or images.shape[1:] != expected or not len(images):
            raise UserError(
                f"the extractor {self.name!r} reads {self.input}, one or more; "
                f"it was given {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}"
            )
        # A caller's autocast must not reach in: the same images score the same in every training mode.
        with torch.autocast(self.device.type, enabled=False):
            parts = [self.network(self.prepare(batch.to(self.device))) for batch in images.split(batch_size)]
        return Features(
            torch.cat([part.features for part in parts]).float().cpu(),
            torch.cat([part.logits for part in parts]).float().cpu(),
        )


class Digits(Extractor):
    """`DigitsNet` with the weights that come with the package."""

    name = "digits"
    input = "greyscale uint8 images (N, 1, 32, 32) of digits, light on dark; colour channels one by one"
    channels = 1
    size = 32
    classes = 10
    weights = Path(__file__).with_name("digits.safetensors")

    def build(self) -> nn.Module:
        return DigitsNet()

    def prepare(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1


EXTRACTORS: dict[str, type[Extractor]] = {Digits.name: Digits}


def available() -> str:
    """The extractors and what each reads, in words, for messages."""
    known = "; ".join(f"{name!r} reads {extractor.input}" for name, extractor in EXTRACTORS.items())
    return f"{known}. FID itself (and IS, KID) needs the Inception weights, which this version does not carry"


def get_extractor(name: str, device: str | torch.device = "cpu") -> Extractor:
    """The extractor called `name`, ready on `device`. Raises UserError for an unknown name."""
    if name not in EXTRACTORS:
        hint = nearest(name, EXTRACTORS)
        raise UserError(f"there is no feature extractor {name!r}: {hint}. Available: {available()}.")
    return EXTRACTORS[name](device)
