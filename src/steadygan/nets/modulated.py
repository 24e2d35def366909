"""The layers of StyleGAN2: equalised layers, the [1, 3, 3, 1] filter, the modulated convolution.

Source: Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020 (StyleGAN2). Plain torch
operations throughout, differentiable any number of times. Under autocast only the convolutions are rounded: styles,
demodulation and dense layers stay in the precision of the weights, as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.kernels.precision import rounded, without_autocast
from steadygan.kernels.winograd import convolve as winograd
from steadygan.kernels.winograd.layer import Winograd

SLOPE = 0.2
# Keeps the second moment of a leaky ReLU's output near that of its input. The ReLU is positively homogeneous, so this
# gain can be folded into the weights before it.
ACTIVATION_GAIN = math.sqrt(2)
EPS = 1e-8


def normalise_second_moment(x: Tensor) -> Tensor:
    """x (N, F), each row divided by its root mean square."""
    return x * (x.square().mean(1, keepdim=True) + EPS).rsqrt()


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """x with every value within ±bound; None changes nothing."""
    return x if bound is None else x.clamp(-bound, bound)


class EqualLinear(nn.Module):
    """x (N, F) → (N, F'), with the weights kept at N(0, 1) and scaled by 1/√F when used.

    All weights then have the same dynamic range, so that Adam updates all at the same relative speed (equalised
    learning rate: Karras et al., Progressive Growing of GANs, ICLR 2018, §4.1).

    Args:
        in_features: F.
        out_features: F'.
        bias: initial value of the bias; None: no bias.
        lr_multiplier: m; the layer learns m times as fast, by keeping its weights at N(0, 1/m²) and using m times them.
        activate: leaky ReLU (0.2) of gain √2 at the end.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: float | None = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.lr_multiplier, self.activate = lr_multiplier, activate
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = None if bias is None else nn.Parameter(torch.full((out_features,), bias / lr_multiplier))
        self.gain = lr_multiplier * (ACTIVATION_GAIN if activate else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x):
            bias = None if self.bias is None else self.bias * self.gain
            weight = self.weight * (self.gain / math.sqrt(self.in_features))
            h = F.linear(x.to(weight.dtype), weight, bias)
            return F.leaky_relu(h, SLOPE) if self.activate else h


class Resample(nn.Module):
    """The separable low-pass filter [1, 3, 3, 1] / 8 before halving and after doubling; zero padding."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def blur(self, x: Tensor, *, padding: int, stride: int = 1, gain: float = 1.0) -> Tensor:
        """(N, C, H, W) → (N, C, H', W'), H' = (H + 2·padding − 4) / stride + 1; every `stride`-th pixel is kept.

        Args:
            x: (N, C, H, W).
            padding: zeros on every side, in pixels.
            stride: 1 or 2.
            gain: factor on the result.
        """
        return self._filter(x, gain, stride, padding)

    def down(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H/2, W/2)."""
        return self.blur(x, padding=1, stride=2)

    def up(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, 2H, 2W): zeros between the pixels, then the filter with a gain of 4."""
        return self._filter(x, 4, 2, 1, (0, 0))

    def _filter(self, x: Tensor, gain: float, *way: Any) -> Tensor:
        """`Filter` in autocast's dtype for convolutions."""
        x = rounded(x)
        with without_autocast(x):
            return Filter.apply(x, self.kernel * gain, *way)


class Filter(torch.autograd.Function):
    """(x (N, C, H, W), kernel (1, 1, k, k)) → x with every channel convolved, or, given `more`, the transpose of that.

    more: pixels at the lower and right edge that the convolution did not reach. Each is the other's derivative. Torch's
    own second derivative would also compute a kernel gradient, channel by channel, which is not needed.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, stride: int, padding: int, more: tuple[int, int] | None = None
    ) -> Tensor:
        ctx.stride, ctx.padding, ctx.more = stride, padding, None
        ctx.save_for_backward(kernel)
        kernels = kernel.to(x.dtype).expand(x.shape[1], *kernel.shape[1:])
        if more is not None:
            return F.conv_transpose2d(x, kernels, None, stride, padding, more, groups=x.shape[1])
        h, w = ((side + 2 * padding - kernel.shape[2]) % stride for side in x.shape[2:])
        ctx.more = h, w
        return F.conv2d(x, kernels, None, stride, padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        (kernel,) = ctx.saved_tensors
        with without_autocast(g):
            return Filter.apply(g, kernel, ctx.stride, ctx.padding, ctx.more), None, None, None, None


class SameSizeConv2d(Winograd):
    """The part shared by convolutions that keep the side, unless they have a `resample`."""

    resample: Resample | None

    def suits_winograd(self) -> bool:
        return self.resample is None and super().suits_winograd()

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        """(N, C, H, W), (C', C, k, k), (C',) → (N, C', H, W), k odd."""
        if self.winograd and (form := winograd.form_for(x)):
            return winograd.convolve(form, x, kernel, bias)
        return F.conv2d(x, kernel, bias, padding=kernel.shape[2] // 2)


class EqualConv2d(SameSizeConv2d):
    """(N, C, H, W) → (N, C', H, W), or half the side with `down`; weights as in `EqualLinear`.

    Args:
        before: C.
        after: C'.
        kernel: 1 or 3.
        bias: whether there is a bias.
        down: filter and halve the sides.
        activate: leaky ReLU (0.2) of gain √2 at the end.
        gain: factor on the output.
        clamp: bound of the output, before the gain; None: no bound.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        *,
        bias: bool = True,
        down: bool = False,
        activate: bool = True,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activate = activate
        self.clamp = None if clamp is None else clamp * gain
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.resample = Resample() if down else None
        self.gain = gain * (ACTIVATION_GAIN if activate else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.gain / math.sqrt(self.weight[0].numel()))
        bias = None if self.bias is None else self.bias * self.gain
        if self.resample is None:
            h = self.convolve(x, weight, bias)
        elif weight.shape[2] > 1:
            h = F.conv2d(self.resample.blur(x, padding=2), weight, bias, stride=2)
        else:
            h = F.conv2d(self.resample.down(x), weight, bias)  # commutes with the filter, and costs a quarter after it
        return clamped(F.leaky_relu(h, SLOPE) if self.activate else h, self.clamp)


class ModulatedConv2d(SameSizeConv2d):
    """A convolution whose kernel is scaled, for each image, by a style computed from its w.

    x (N, C, H, W), w (N, w_dim) → (N, C', H, W), or twice the side with `up` (filtered). With s = A(w): w'ᵢⱼₖ = sᵢ ·
    wᵢⱼₖ and, with `demodulate`, w''ᵢⱼₖ = w'ᵢⱼₖ / √(Σᵢₖ w'ᵢⱼₖ² + ε), then a bias (StyleGAN2, §2.2, eq. 1 and 3). Instead
    of a kernel per image, s scales the input of the shared convolution and the demodulation its output, which is
    equivalent and much faster in training.

    Args:
        before: C.
        after: C'.
        kernel: 1 or 3.
        w_dim: length of w.
        up: double the sides.
        demodulate: normalise the kernel of each output channel.
        gain: factor on the output, bias included.
        raw_eps: ε is added to the sum over unscaled weights.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        w_dim: int,
        *,
        up: bool = False,
        demodulate: bool = True,
        gain: float = 1.0,
        raw_eps: bool = False,
    ) -> None:
        super().__init__()
        self.demodulate, self.gain = demodulate, gain
        self.eps = EPS / (before * kernel**2) if raw_eps else EPS
        self.affine = EqualLinear(w_dim, before, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after))
        self.resample = Resample() if up else None

    def scale_and_shift(self) -> Iterable[nn.Parameter]:
        """The affine layer from w to the style."""
        return self.affine.parameters()

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        weight = self.weight / math.sqrt(self.weight[0].numel())
        h = x * style.to(x.dtype)[:, :, None, None]
        if self.resample is None:
            h = self.convolve(h, weight)
        else:
            h = F.conv_transpose2d(h, weight.transpose(0, 1), stride=2)
            h = self.resample.blur(h, padding=1, gain=4)
        bias = (self.bias * self.gain).to(h.dtype)[:, None, None]
        if not self.demodulate:
            return torch.add(bias, h, alpha=self.gain)
        with without_autocast(x):
            power = style.square() @ weight.square().sum((2, 3)).t()
            scale = self.gain * (power + self.eps).rsqrt()
        return torch.addcmul(bias, h, scale.to(h.dtype)[:, :, None, None])
