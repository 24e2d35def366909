"""Winograd convolutions equal plain ones: values, derivatives of both orders, and rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.kernels.winograd import convolve as winograd
from steadygan.kernels.winograd.convolve import convolve, convolve_back
from steadygan.kernels.winograd.forms import DOUBLING, PAIRS, QUADS, Form
from steadygan.kernels.winograd.layer import set_winograd
from steadygan.nets.layers import Conv2d
from steadygan.nets.prepared import prepared
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.resample import DownConv2d, UpConv2d, set_folding
from steadygan.nets.translate import ReflectConv2d

Map = Callable[[Tensor, Tensor, Tensor], Tensor]
WIDE = winograd.LEAST_CHANNELS


def doubled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, bias, padding=1)


def halved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = F.conv2d(x, weight, bias, padding=1)
    return (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4


def by(form: Form, *, rectify: bool = False) -> Map:
    return lambda x, weight, bias: convolve(form, x, weight, bias, rectify=rectify)


def halved_by(form: Form, *, rectify: bool = False) -> Map:
    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolve_back(form, x, weight.flip(2, 3).transpose(0, 1) / 4, bias, rectify=rectify)

    return function


def rectified(function: Map) -> Map:
    return lambda x, weight, bias: function(F.relu(x), weight, bias)


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1)


MAPS: dict[str, tuple[Map, Map]] = {
    "pairs": (by(PAIRS), plain),
    "quads": (by(QUADS), plain),
    "doubling": (by(DOUBLING), doubled),
    "halving": (halved_by(DOUBLING), halved),
    "quads of relu": (by(QUADS, rectify=True), rectified(plain)),
    "pairs of relu": (by(PAIRS, rectify=True), rectified(plain)),
    "doubling of relu": (by(DOUBLING, rectify=True), rectified(doubled)),
    "halving of relu": (halved_by(DOUBLING, rectify=True), rectified(halved)),
}


def arguments(count: int, before: int, after: int, h: int, w: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (count, before, h, w), (after, before, 3, 3), (after,)
    draws = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5 for shape in shapes]
    return [draw.to(dtype).requires_grad_() for draw in draws]


@pytest.mark.parametrize("chunk", [1, 8 << 20], ids=["an image at a time", "at once"])
@pytest.mark.parametrize("name", MAPS)
def test_equals_the_definition_in_value_and_both_derivatives(
    name: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    outcomes = []
    for function in MAPS[name]:
        inputs = arguments(3, 5, 7, 8, 12)
        y = function(*inputs)
        once = torch.autograd.grad(y.pow(3).sum(), inputs, retain_graph=True)
        for_penalty = torch.autograd.grad(y.pow(3).sum(), inputs, create_graph=True)
        twice = torch.autograd.grad(sum(g.square().sum() for g in for_penalty), inputs)
        outcomes.append([y, *once, *for_penalty, *twice])
    torch.testing.assert_close(*outcomes, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MAPS)
def test_derivatives_by_finite_differences(name: str) -> None:
    inputs = arguments(1, 2, 2, 4, 4)
    assert torch.autograd.gradcheck(MAPS[name][0], inputs)
    assert torch.autograd.gradgradcheck(MAPS[name][0], inputs, fast_mode=True)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5), (torch.bfloat16, 1.2)], ids=str)
def test_rounds_finely(name: str, dtype: torch.dtype, bound: float) -> None:
    """Relative errors (root mean square) of values and derivatives in units of the precision; kernels are float32.

    Twice the bound where more is added up (`QUADS`). Direct convolutions have up to 4.6 in float32, 0.7 in bfloat16.
    """
    inputs = [tensor.detach().float() for tensor in arguments(2, 96, 96, 16, 16)]
    inputs[0] = (inputs[0] if "relu" in name else inputs[0].relu()).to(dtype)
    ours, theirs = MAPS[name]
    truth = derivatives(theirs, [tensor.double() for tensor in inputs])
    errors = [
        (a - b).square().mean().sqrt() / b.square().mean().sqrt() / torch.finfo(dtype).eps
        for a, b in zip(derivatives(ours, inputs), truth, strict=True)
    ]
    assert max(errors) < bound * (2 if name.startswith("quads") else 1), errors


def draw(count: int, side: int) -> Tensor:
    return torch.randn(count, WIDE, side, side, generator=torch.Generator().manual_seed(0))


def derivatives(function: Map, inputs: list[Tensor]) -> list[Tensor]:
    """The value and those of a random sum of it, in the precision of the inputs."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = function(*leaves)
    g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(y.dtype)
    return [y, *torch.autograd.grad(y, leaves, g)]


def test_the_form_is_chosen_by_the_sides_and_small_batches_are_left_alone() -> None:
    assert winograd.form_for(torch.zeros(16, 1, 8, 8)) is QUADS
    assert winograd.form_for(torch.zeros(16, 1, 10, 8)) is PAIRS
    assert winograd.form_for(torch.zeros(16, 1, 8, 10)) is PAIRS
    assert winograd.form_for(torch.zeros(16, 1, 9, 8)) is None
    assert winograd.form_for(torch.zeros(15, 1, 8, 8)) is None


def test_beside_a_doubling_the_smaller_image_must_have_even_sides() -> None:
    for shape, suits in (((16, 1, 4, 4), True), ((15, 1, 4, 4), False), ((16, 1, 6, 5), False)):
        small = torch.zeros(shape)
        large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = DOUBLING if suits else None
        assert winograd.doubling_for(small, scale=1) is winograd.doubling_for(large, scale=2) is expected
    assert winograd.doubling_for(torch.zeros(99, 1, 7, 8), scale=2) is None


@pytest.mark.parametrize(("kind", "odd"), [(UpConv2d, 5), (DownConv2d, 6)], ids=["doubling", "halving"])
def test_a_resampling_that_no_form_suits_is_folded(kind: type[UpConv2d | DownConv2d], odd: int) -> None:
    """The smaller image's side is odd, or its pixels are few."""
    layer = kind(WIDE, WIDE)
    for x in (draw(99, odd), draw(1, 8)):
        assert winograd.doubling_for(x, scale=1 if kind is UpConv2d else 2) is None
        set_winograd(layer, False)
        expected = layer(x)
        set_winograd(layer, True)
        with prepared([layer]):
            torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_factors_are_kept_while_a_kernel_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = Form.factors
    monkeypatch.setattr(Form, "factors", lambda *args: made.append(1) or make(*args))
    x, kernel, bias = (tensor.detach().float() for tensor in arguments(3, 16, 16, 8, 8))
    for change, count in ((False, 1), (False, 1), (True, 2), (False, 2)):
        if change:
            kernel.mul_(2)
        torch.testing.assert_close(convolve(QUADS, x, kernel, bias), plain(x, kernel, bias), rtol=1e-4, atol=1e-4)
        assert len(made) == count
    for other in (kernel.clone().requires_grad_(), nn.Parameter(kernel, requires_grad=False)):
        before = len(made)
        for _ in "ab":
            convolve(QUADS, x, other, bias)
        assert len(made) == before + 2


@pytest.mark.parametrize(
    ("layer", "suits"),
    [
        (lambda: Conv2d(WIDE, WIDE, 3, padding=1), True),
        (lambda: ReflectConv2d(WIDE, WIDE), True),
        (lambda: UpConv2d(WIDE, WIDE), True),
        (lambda: DownConv2d(WIDE, WIDE), True),
        (lambda: Conv2d(3, WIDE, 3, padding=1), False),
        (lambda: Conv2d(WIDE, WIDE - 1, 3, padding=1), False),
        (lambda: Conv2d(WIDE, WIDE, 3), False),
        (lambda: Conv2d(WIDE, WIDE, 1), False),
        (lambda: Conv2d(WIDE, WIDE, 4, stride=2, padding=1), False),
        (lambda: Conv2d(WIDE, WIDE, 3, padding=1, groups=2), False),
        (lambda: Conv2d(WIDE, WIDE, 3, padding=2, dilation=2), False),
        (lambda: Conv2d(WIDE, WIDE, 3, padding=1, padding_mode="reflect"), False),
    ],
)
def test_only_wide_convolutions_that_keep_the_side_are_changed(layer: Callable[[], Conv2d], suits: bool) -> None:
    made = layer()
    assert set_winograd(made, True) == suits
    assert made.winograd is suits


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("kind", ["resnet", "biggan", "unet", "stylegan2"])
def test_networks_agree_in_and_outside_a_phase(kind: str, fold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folded or not, with kernels made for each pass or once: the same output and gradients."""
    for net, x in networks(kind, fold, torch.float64, monkeypatch):
        expected = run(net, x)
        assert set_winograd(net, True) > 3
        with prepared([net]):
            inside = run(net, x)
        torch.testing.assert_close(run(net, x), expected, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close([inside[0], *gradients(net)], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["resnet", "biggan", "unet", "stylegan2"])
def test_under_autocast_networks_are_rounded_as_without(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients of the same dtypes, off by no more than 4 times what a plain network is off by."""
    for net, x in networks(kind, True, torch.float32, monkeypatch):
        exact = torch.cat([tensor.flatten() for tensor in run(net, x)])
        errors = []
        for on in (False, True):
            set_winograd(net, on)
            with torch.autocast("cpu", torch.bfloat16):
                found = run(net, x)
            errors.append((torch.cat([tensor.float().flatten() for tensor in found]) - exact).norm())
            assert {tensor.dtype for tensor in found[1:]} == {torch.float32}
        assert errors[1] < 4 * errors[0]


def networks(
    kind: str, fold: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[nn.Module, Tensor]]:
    monkeypatch.setattr(winograd, "LEAST_CHANNELS", 8)
    monkeypatch.setattr(winograd, "LEAST_PIXELS", 1)
    sizes: dict[str, Any] = {"size": 32, "channels": 3, "classes": 0, "width": 8}
    sizes["rng"] = generator = torch.Generator().manual_seed(0)
    for net, shape in (
        (create_generator(kind, latent=16, **sizes), (4, 16)),
        (create_critic(kind, **sizes), (4, 3, 32, 32)),
    ):
        set_folding(net, fold)
        yield net.to(dtype), torch.randn(shape, generator=generator, dtype=dtype)


def run(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Its output and, unless a phase is on, gradients."""
    net.zero_grad()
    torch.manual_seed(0)  # of StyleGAN2's noise
    y = net(x)
    y = y if isinstance(y, Tensor) else y.logit
    y.square().mean().backward()
    return [y.detach(), *gradients(net)]


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
