"""Batch norm's derivatives on a CPU, against its formula written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steadygan.nets.batch_norm import BatchNorm2d

FORMATS = [torch.contiguous_format, torch.channels_last]


def written_out(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True, correction=0)
    h = (x - mean) * (var + norm.eps).rsqrt()
    return h if not norm.affine else h * norm.weight[:, None, None] + norm.bias[:, None, None]


def derivatives(y: Tensor, inputs: list[Tensor], order: int) -> list[Tensor]:
    """The gradients of scalars that each mix all gradients of the order below."""
    found = []
    scalar = (y.pow(3) + y.sin()).sum()
    for _ in range(order):
        gradients = torch.autograd.grad(scalar, inputs, create_graph=True)
        found += gradients
        scalar = sum((torch.arange(g.numel(), dtype=g.dtype).view(g.shape) * g.pow(2)).sum() for g in gradients)  # type: ignore[assignment]
    return found


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_three_orders_of_derivatives_are_those_of_the_formula(memory_format: torch.memory_format, affine: bool) -> None:
    norm = BatchNorm2d(5, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(4, 5, 3, 2).contiguous(memory_format=memory_format).requires_grad_()
    inputs = [x, *norm.parameters()]
    for ours, right in zip(derivatives(norm(x), inputs, 3), derivatives(written_out(x, norm), inputs, 3), strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-11, atol=1e-11 * float(right.detach().abs().max()))


def test_values_statistics_and_first_derivatives_are_torch_s_to_the_bit() -> None:
    ours, theirs = BatchNorm2d(6), nn.BatchNorm2d(6)
    x = torch.randn(8, 6, 4, 4)
    gradients = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        gradients.append([y, *torch.autograd.grad((y.sin() * y).sum(), [leaf, *norm.parameters()])])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_bfloat16_maps_have_bfloat16_derivatives_near_those_of_float32(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    norm = BatchNorm2d(6)
    rough = torch.randn(8, 6, 4, 4).bfloat16().contiguous(memory_format=memory_format).requires_grad_()
    fine = rough.detach().float().requires_grad_()
    second = []
    for x in (rough, fine):
        (g,) = torch.autograd.grad(norm(x).float().pow(3).sum(), x, create_graph=True)
        second.append(torch.autograd.grad(g.float().pow(2).sum(), x)[0])
    assert second[0].dtype == torch.bfloat16
    assert float((second[0].float() - second[1]).norm() / second[1].norm()) < 0.02


def test_a_gradient_comes_back_in_the_memory_format_of_the_maps() -> None:
    x = torch.randn(2, 6, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    (g,) = torch.autograd.grad(BatchNorm2d(6)(x), x, torch.randn(2, 6, 4, 4))
    assert g.is_contiguous(memory_format=torch.channels_last)
