"""The digits classifier, an extractor whose weights are in the package."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from steadygan.pretrained.extractor import Extractor, Features, load_state


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
            # A full 4×4 kernel instead of average pooling: features must depend on the position of strokes.
            *block(32, 64, kernel=4, stride=1, padding=0),
            nn.Flatten(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Features:
        features = self.body(x)
        return Features(features, self.head(features))


class Digits(Extractor):
    """`DigitsNet` with the weights in the package."""

    name = "digits"
    input = "greyscale uint8 images (N, 1, 32, 32) of digits, light on dark; colour channels separately"
    channels = 1
    size = 32
    classes = 10
    cpu_batch = 256
    weights = Path(__file__).with_name("digits.safetensors")

    def build(self, path: Path | None) -> nn.Module:
        assert path is not None
        return load_state(DigitsNet(), path)

    def prepare(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1
