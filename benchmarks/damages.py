"""Random damage to images, roughly what bad generators make: for the network that imitates SqueezeNet's features."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from squeezenet_response import jpeg
from torch import Tensor

from steadygan.pictures.pixels import to_float


def to_bytes(x: Tensor) -> Tensor:
    """[-1, 1] → uint8, as the images of the committed weights were rounded: `to_uint8` differs in a few pixels."""
    return ((x + 1) * 127.5).round().clamp(0, 255).byte()


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (N, C, S, S), σ in pixels."""
    radius = max(1, math.ceil(3 * sigma))
    places = torch.arange(-radius, radius + 1).float()
    kernel = (-(places**2) / (2 * sigma * sigma)).exp()
    kernel /= kernel.sum()
    channels = x.shape[1]
    x = F.pad(x, (radius,) * 4, mode="reflect" if radius < x.shape[-1] else "replicate")
    x = F.conv2d(x, kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(x, kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)


class Damages:
    """Thirteen kinds of damage. Each takes and returns images (N, 3, S, S) in [-1, 1]; strength is drawn per batch."""

    def __init__(self, generator: torch.Generator, pool: Mapping[int, Tensor]) -> None:
        """pool: undamaged uint8 images (M, 3, S, S) for each side S."""
        self.generator, self.pool = generator, pool
        self.kinds = (
            *(self.blur, self.noise, self.compress, self.coarsen, self.mix, self.warp, self.shuffle),
            *(self.gaussian, self.untrained, self.checkerboard, self.recolour, self.dephase, self.paste),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """One, two or three kinds in a row."""
        for _ in range(1 + int(self.uniform(0, 1) < 0.6) + int(self.uniform(0, 1) < 0.3)):
            x = self.kinds[self.integer(0, len(self.kinds) - 1)](x).clamp(-1, 1)
        return x

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def integer(self, low: int, high: int) -> int:
        """One of [low, high]."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def field(self, count: int, side: int, scale: float) -> Tensor:
        """Two smooth random maps an image, which change over `scale` pixels."""
        coarse = max(2, int(side / scale))
        return F.interpolate(self.normal(count, 2, coarse, coarse), (side, side), mode="bicubic")

    def blur(self, x: Tensor) -> Tensor:
        return smooth(x, 2 ** self.uniform(-1.7, 1.6))

    def noise(self, x: Tensor) -> Tensor:
        """Of pixels or of small spots, coloured or grey; a deviation of 2 to 52, of 255."""
        drawn = self.normal(*x.shape)
        if self.uniform(0, 1) < 0.4:
            drawn = smooth(drawn, self.uniform(0.4, 1.5))
            drawn = drawn / drawn.std()
        if self.uniform(0, 1) < 0.3:
            drawn = drawn.mean(1, keepdim=True).expand_as(x)
        return x + drawn * 2 ** self.uniform(1, 5.7) / 127.5

    def compress(self, x: Tensor) -> Tensor:
        return to_float(jpeg(to_bytes(x), int(self.uniform(4, 90))))

    def coarsen(self, x: Tensor) -> Tensor:
        """A half to an eighth of the pixels, enlarged again."""
        factor = (2, 4, 8)[self.integer(0, 2)]
        mode = ("nearest", "bilinear", "bicubic")[self.integer(0, 2)]
        return F.interpolate(F.avg_pool2d(x, factor), x.shape[2:], mode=mode)

    def mix(self, x: Tensor) -> Tensor:
        """Each image blended with the one before it."""
        share = torch.rand(len(x), 1, 1, 1, generator=self.generator) * 0.4 + 0.3
        return share * x + (1 - share) * x.roll(1, 0)

    def warp(self, x: Tensor) -> Tensor:
        count, _, side, _ = x.shape
        moved = self.field(count, side, self.uniform(3, 12)) * self.uniform(0.05, 0.4)
        grid = F.affine_grid(torch.eye(2, 3).expand(count, 2, 3), (count, 1, side, side), align_corners=False)
        grid = grid + moved.permute(0, 2, 3, 1)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)

    def shuffle(self, x: Tensor) -> Tensor:
        """Square parts of 4, 8 or 16 pixels change places."""
        count, channels, side, _ = x.shape
        part = (4, 8, 16)[self.integer(0, 2)]
        part = part if side % part == 0 else 8
        n = side // part
        parts = x.view(count, channels, n, part, n, part).permute(2, 4, 0, 1, 3, 5)
        parts = parts.reshape(n * n, count, channels, part, part)
        places = torch.rand(count, n * n, generator=self.generator).argsort(1)
        parts = parts[places.t(), torch.arange(count)].view(n, n, count, channels, part, part)
        return parts.permute(2, 3, 0, 4, 1, 5).reshape(x.shape)

    def gaussian(self, x: Tensor) -> Tensor:
        """Sums of 4 to 64 random images with random weights: their mean and covariance, but no shapes."""
        many = int(2 ** self.uniform(2, 6))
        weights, pool = self.normal(len(x), many), self.pool[x.shape[-1]]
        basis = to_float(pool[torch.randint(len(pool), (many,), generator=self.generator)])
        mean = basis.mean(0)
        return mean + torch.einsum("nk,kchw->nchw", weights, basis - mean) / many**0.5

    def untrained(self, x: Tensor) -> Tensor:
        """What a generator with random weights makes, mostly with the mean and deviation of each channel of x."""
        count, _, side, _ = x.shape
        start = (4, 6, 8)[self.integer(0, 2)]
        h = self.normal(count, 32, start, start) * self.uniform(0.5, 2)
        if self.uniform(0, 1) < 0.5:
            h = h + self.normal(count, 32, 1, 1) * 2
        while h.shape[-1] < side:
            size = min(2 * h.shape[-1], side)
            if self.uniform(0, 1) < 0.5:
                h = F.interpolate(h, (size, size), mode=("nearest", "bilinear")[self.integer(0, 1)])
            else:
                h = F.conv_transpose2d(h, self.normal(32, 32, 4, 4) / (32 * 4) ** 0.5, stride=2, padding=1)
                h = h if h.shape[-1] == size else F.interpolate(h, (size, size))
            kernel = self.normal(32, 32, 3, 3) * (2 / 288) ** 0.5
            h = F.relu(F.conv2d(h, kernel, self.normal(32) * 0.1, padding=1))
            h = (h - h.mean((0, 2, 3), keepdim=True)) / (h.std((0, 2, 3), keepdim=True) + 1e-5)
        y = F.conv2d(h, self.normal(3, 32, 3, 3) / 17, padding=1)
        y = y / y.std()
        mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
        if self.uniform(0, 1) < 0.7:
            return mean + deviation * y * self.uniform(0.4, 1.3)
        return torch.tanh(y * self.uniform(0.5, 2))

    def checkerboard(self, x: Tensor) -> Tensor:
        """A pattern of period 2 or 4, of changing strength, as transposed convolutions leave behind."""
        count, _, side, _ = x.shape
        places = torch.arange(side)
        period = (2, 4)[self.integer(0, 1)]
        pattern = ((places[:, None] % period + places[None] % period) % period).float()
        pattern = pattern - pattern.mean()
        strength = self.field(count, side, 8)[:, :1].abs() * self.uniform(0.03, 0.5)
        return x + pattern * strength * (1 if self.uniform(0, 1) < 0.5 else self.normal(1, 3, 1, 1))

    def recolour(self, x: Tensor) -> Tensor:
        """Another contrast, tint and saturation."""
        mean = x.mean((2, 3), keepdim=True)
        y = (x - mean) * self.uniform(0.3, 1.5) + mean + self.normal(1, 3, 1, 1) * self.uniform(0, 0.4)
        grey = y.mean(1, keepdim=True)
        return grey + (y - grey) * self.uniform(0, 2)

    def dephase(self, x: Tensor) -> Tensor:
        """The amplitudes of all frequencies kept, their phases partly random."""
        waves, other = torch.fft.rfft2(x), torch.fft.rfft2(self.normal(len(x), 1, *x.shape[-2:]))
        other = other / other.abs().clamp(min=1e-6)
        share = self.uniform(0, 1)
        phase = torch.exp(1j * (share * other.angle() + (1 - share) * waves.angle()))
        return torch.fft.irfft2(waves.abs() * phase, s=x.shape[-2:])

    def paste(self, x: Tensor) -> Tensor:
        """A square of the image before it, at another place."""
        side = x.shape[-1]
        part = int(side * self.uniform(0.2, 0.6))
        top, left, high, wide = (self.integer(0, side - part) for _ in range(4))
        y = x.clone()
        y[:, :, top : top + part, left : left + part] = x.roll(1, 0)[:, :, high : high + part, wide : wide + part]
        return y
