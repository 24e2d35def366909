"""Self-attention against a loop over positions, and its placement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from steadygan.errors import UserError
from steadygan.nets.attention import Attention, attention_after, differentiated_once, fused_attention, plain_attention
from steadygan.nets.spectral_norm import PLAIN, Spectral, advance_spectral_norm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def matrix(layer: nn.Module, spectral_norm: bool) -> np.ndarray:
    weight = layer.weight.detach()[:, :, 0, 0].numpy()
    return weight / np.linalg.norm(weight, 2) if spectral_norm else weight


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_attention_is_the_softmax_mean_over_pooled_positions(spectral_norm: bool) -> None:
    channels, height, width = 16, 4, 6
    layer = Attention(channels, spectral=Spectral(spectral_norm)).double()
    advance_spectral_norm(layer, 500)
    nn.init.constant_(layer.gamma, 0.7)
    x = 3 * torch.randn(2, channels, height, width).double()
    query, key, value, out = (
        matrix(module, spectral_norm) for module in (layer.query, layer.key, layer.value, layer.out)
    )
    assert query.shape == key.shape == (2, 16)
    assert value.shape == (8, 16)
    array = x.numpy()
    expected = np.empty_like(array)
    for n in range(2):
        keys, values = [], []
        for i in range(0, height, 2):
            for j in range(0, width, 2):
                window = array[n, :, i : i + 2, j : j + 2].reshape(channels, 4)
                keys.append((key @ window).max(1))
                values.append((value @ window).max(1))
        for i in range(height):
            for j in range(width):
                asked = query @ array[n, :, i, j]
                weights = np.exp([asked @ k for k in keys])
                attended = sum(w * v for w, v in zip(weights / weights.sum(), values, strict=True))
                expected[n, :, i, j] = array[n, :, i, j] + 0.7 * out @ attended
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-7, atol=1e-9)


def test_the_fused_kernel_gives_the_same_values_and_derivatives() -> None:
    inputs = [torch.randn(2, width, count).double().requires_grad_() for width, count in ((2, 24), (2, 6), (8, 6))]
    g = torch.randn(2, 8, 24).double()
    plain, fused = (attend(*inputs) for attend in (plain_attention, fused_attention))
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(torch.autograd.grad(fused, inputs, g), torch.autograd.grad(plain, inputs, g))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda_the_fused_kernel_gives_the_same_values_and_derivatives(dtype: torch.dtype) -> None:
    layer = Attention(64, spectral=Spectral()).cuda()
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(4, 64, 32, 32, device="cuda").to(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
        plain = layer(x)
        with differentiated_once():
            fused = layer(x)
    close = {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(fused, plain, **close)
    torch.testing.assert_close(*(torch.autograd.grad(out.float().sum(), x)[0] for out in (fused, plain)), **close)


def test_attention_starts_as_the_identity_and_learns_gamma_first() -> None:
    layer, x = Attention(8, spectral=Spectral()), torch.randn(2, 8, 4, 4)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert float(layer.gamma.grad.abs()) > 0
    assert not layer.query.weight.grad.any()


def test_attention_has_no_biases_and_one_gain() -> None:
    names = set(dict(Attention(64, spectral=Spectral()).named_parameters()))
    assert names == {"gamma", "query.weight", "key.weight", "value.weight", "out.weight"}
    assert Attention(2, spectral=Spectral())(torch.randn(1, 2, 4, 4)).shape == (1, 2, 4, 4)


def test_first_and_second_derivatives_of_attention_are_right() -> None:
    layer = Attention(4, spectral=Spectral()).double()
    gamma = torch.tensor(0.5).double().requires_grad_()
    weight = layer.query.weight.detach().clone().requires_grad_()
    x = torch.randn(1, 4, 2, 4).double().requires_grad_()

    def attend(x: torch.Tensor, gamma: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"gamma": gamma, "query.weight": weight}, (x,))

    assert torch.autograd.gradcheck(attend, (x, gamma, weight))
    assert torch.autograd.gradgradcheck(attend, (x, gamma, weight))


@pytest.mark.parametrize(
    ("attention", "last", "places"),
    [(8, False, [0]), (8, True, [1]), ([8, 16], False, [0, 2]), (0, False, []), ([], False, []), ((16,), True, [2])],
)
def test_attention_goes_after_the_blocks_of_the_wanted_sides(
    attention: int | list[int], last: bool, places: list[int]
) -> None:
    layers = attention_after(attention, [8, 8, 16], [2, 4, 6], last=last, spectral=PLAIN)
    assert [i for i, layer in enumerate(layers) if isinstance(layer, Attention)] == places
    assert [layers[i].query.in_channels for i in places] == [(2, 4, 6)[i] for i in places]
    assert len(layers) == 3


@pytest.mark.parametrize("attention", [12, [16, 12], "16", None])
def test_attention_at_a_side_that_is_not_there_is_refused(attention: object) -> None:
    with pytest.raises(UserError, match="attention is possible at sides 8, 16 here"):
        attention_after(attention, [8, 16], [2, 4], spectral=PLAIN)
