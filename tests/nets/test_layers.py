"""Spectral norm, grouped and conditional batch norm, projection: each against an independent reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from steadygan.nets.batch_norm import BatchNorm2d, ConditionalBatchNorm2d, has_batch_statistics, set_batch_groups
from steadygan.nets.layers import Conv2d, Embedding, Linear, Projection
from steadygan.nets.spectral_norm import Spectral, SpectralNorm, advance_spectral_norm


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def layer_and_input(kind: str) -> tuple[SpectralNorm, torch.Tensor]:
    if kind == "conv":
        return Conv2d(3, 6, 3, padding=1, spectral=Spectral()).double(), torch.randn(2, 3, 5, 5).double()
    if kind == "linear":
        return Linear(7, 4, spectral=Spectral()).double(), torch.randn(3, 7).double()
    return Embedding(5, 4, spectral=Spectral()).double(), torch.tensor([0, 4, 4])


@pytest.mark.parametrize("kind", ["conv", "linear", "embedding"])
def test_power_iteration_finds_the_largest_singular_value(kind: str) -> None:
    layer, _ = layer_and_input(kind)
    advance_spectral_norm(layer, 300)
    matrix = layer.weight.detach().reshape(layer.weight.shape[0], -1)
    largest = np.linalg.svd(matrix.numpy(), compute_uv=False)[0]
    sigma = float(layer.u @ matrix @ layer.v)
    assert sigma == pytest.approx(largest, rel=1e-9)
    torch.testing.assert_close(layer.normalised_weight(), layer.weight / largest, rtol=1e-8, atol=0)


def test_a_new_layer_is_already_close_to_unit_norm() -> None:
    layer = Conv2d(16, 16, 3, spectral=Spectral())
    largest = torch.linalg.matrix_norm(layer.normalised_weight().detach().flatten(1), ord=2)
    assert 1.0 <= float(largest) < 1.1


def test_one_advance_is_one_power_iteration_for_each_layer() -> None:
    network = nn.Sequential(Conv2d(2, 3, 3, spectral=Spectral()), nn.ReLU(), Linear(4, 5, spectral=Spectral()))
    for layer in (network[0], network[2]):
        layer.u.copy_(nn.functional.normalize(torch.randn_like(layer.u), dim=0))
    before = [layer.u.clone() for layer in (network[0], network[2])]
    advance_spectral_norm(network)
    for u, layer in zip(before, (network[0], network[2]), strict=True):
        matrix = layer.weight.detach().flatten(1).numpy()
        v = matrix.T @ u.numpy()
        v /= np.linalg.norm(v)
        u_next = matrix @ v
        np.testing.assert_allclose(layer.v.numpy(), v, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(layer.u.numpy(), u_next / np.linalg.norm(u_next), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["conv", "linear", "embedding"])
def test_forward_in_training_mode_leaves_the_singular_vectors_alone(kind: str) -> None:
    layer, x = layer_and_input(kind)
    layer.train()
    u, v = layer.u.clone(), layer.v.clone()
    layer(x).square().sum().backward()
    assert torch.equal(layer.u, u)
    assert torch.equal(layer.v, v)
    layer.u.copy_(torch.randn_like(u))
    advance_spectral_norm(layer)
    assert not torch.allclose(layer.u, u)


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_output_and_gradient_agree_with_torch_parametrization(kind: str) -> None:
    layer, x = layer_and_input(kind)
    plain = {"conv": nn.Conv2d(3, 6, 3, padding=1), "linear": nn.Linear(7, 4)}[kind].double()
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        plain.bias.copy_(layer.bias)
    reference = nn.utils.parametrizations.spectral_norm(plain).eval()
    parametrization = reference.parametrizations.weight[0]
    parametrization._u.copy_(layer.u)
    parametrization._v.copy_(layer.v)

    ours, theirs = layer(x), reference(x)
    torch.testing.assert_close(ours, theirs)
    ours.pow(3).sum().backward()
    theirs.pow(3).sum().backward()
    torch.testing.assert_close(layer.weight.grad, reference.parametrizations.weight.original.grad)


def test_embedding_gradient_agrees_with_finite_differences() -> None:
    layer, y = layer_and_input("embedding")

    def lookup(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (y,))

    assert torch.autograd.gradcheck(lookup, (layer.weight.detach().clone().requires_grad_(),))


def test_advancing_between_forward_and_backward_does_not_change_the_gradient() -> None:
    layer, x = layer_and_input("conv")
    layer.u.copy_(nn.functional.normalize(torch.randn_like(layer.u), dim=0))
    (expected,) = torch.autograd.grad(layer(x).square().sum(), layer.weight)
    loss = layer(x).square().sum()
    advance_spectral_norm(layer)
    (actual,) = torch.autograd.grad(loss, layer.weight)
    assert torch.equal(actual, expected)


def test_spectral_norm_is_computed_in_full_precision_under_autocast() -> None:
    layer = Linear(64, 64, spectral=Spectral())
    expected = layer.normalised_weight()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.normalised_weight(), expected)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_state_has_plain_names(spectral_norm: bool) -> None:
    names = set(Conv2d(2, 3, 3, spectral=Spectral(spectral_norm)).state_dict())
    assert names == ({"weight", "bias", "u", "v"} if spectral_norm else {"weight", "bias"})


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_grouped_batch_norm_equals_separate_calls(conditional: bool, memory_format: torch.memory_format) -> None:
    grouped = (ConditionalBatchNorm2d(3, 4) if conditional else BatchNorm2d(3)).double()
    for parameter in grouped.parameters():
        nn.init.normal_(parameter)
    separate = copy.deepcopy(grouped)
    x = (torch.randn(12, 3, 4, 4).double() * torch.arange(1, 13).view(-1, 1, 1, 1)).to(memory_format=memory_format)
    y = torch.arange(12) % 4

    set_batch_groups(grouped, 3)
    actual = grouped(x, y)
    expected = torch.cat([separate(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)])
    torch.testing.assert_close(actual, expected)
    assert actual.is_contiguous(memory_format=memory_format)
    assert grouped.state_dict().keys() == separate.state_dict().keys()
    for name, value in separate.state_dict().items():
        torch.testing.assert_close(grouped.state_dict()[name], value)
    assert int(grouped.num_batches_tracked) == 3

    grouped.eval(), separate.eval()
    torch.testing.assert_close(grouped(x[:5], y[:5]), separate(x[:5], y[:5]))


def test_grouped_batch_norm_has_the_gradient_of_separate_calls() -> None:
    grouped, separate = BatchNorm2d(2).double(), BatchNorm2d(2).double()
    set_batch_groups(grouped, 2)
    x = torch.randn(6, 2, 3, 3).double().requires_grad_()
    weight = torch.randn(6, 2, 3, 3).double()
    (actual,) = torch.autograd.grad((grouped(x) * weight).sum(), x)
    (expected,) = torch.autograd.grad((torch.cat([separate(x[:3]), separate(x[3:])]) * weight).sum(), x)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("conditional", [False, True])
def test_groups_are_the_same_to_the_bit_without_derivatives(conditional: bool, dtype: torch.dtype) -> None:
    norm = ConditionalBatchNorm2d(5, 3) if conditional else BatchNorm2d(5)
    set_batch_groups(norm, 3)
    twin = copy.deepcopy(norm)
    x = torch.randn(12, 5, 4, 6).to(dtype).to(memory_format=torch.channels_last)
    y = torch.arange(12) % 3
    with torch.no_grad():
        found = norm(x, y)
    assert found.equal(twin(x, y))
    assert found.is_contiguous(memory_format=torch.channels_last)
    for name, buffer in norm.named_buffers():
        assert buffer.equal(twin.get_buffer(name)), name


def test_batch_that_does_not_split_into_groups_is_refused() -> None:
    norm = BatchNorm2d(2)
    set_batch_groups(norm, 2)
    with pytest.raises(ValueError, match="5 does not split into 2"):
        norm(torch.randn(5, 2, 3, 3))


def test_groups_refuse_a_batch_norm_that_would_ignore_them() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    set_batch_groups(network, 1)
    with pytest.raises(TypeError, match="0: BatchNorm2d"):
        set_batch_groups(network, 2)


def test_conditional_batch_norm_is_a_class_affine_map_of_shared_statistics() -> None:
    norm = ConditionalBatchNorm2d(2, 3).double()
    assert torch.equal(norm.gamma, torch.ones(3, 2).double())
    assert torch.equal(norm.beta, torch.zeros(3, 2).double())
    nn.init.normal_(norm.gamma)
    nn.init.normal_(norm.beta)
    x, y = torch.randn(5, 2, 3, 3).double(), torch.tensor([2, 0, 0, 1, 2])
    array, gamma, beta = x.numpy(), norm.gamma.detach().numpy(), norm.beta.detach().numpy()
    mean, variance = array.mean((0, 2, 3)), array.var((0, 2, 3))
    expected = np.empty_like(array)
    for n, label in enumerate(y.tolist()):
        for c in range(2):
            normalised = (array[n, c] - mean[c]) / np.sqrt(variance[c] + 1e-5)
            expected[n, c] = gamma[label, c] * normalised + beta[label, c]
    np.testing.assert_allclose(norm(x, y).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_conditional_layers_ask_for_missing_labels() -> None:
    with pytest.raises(ValueError, match="needs labels"):
        ConditionalBatchNorm2d(2, 3)(torch.randn(2, 2, 3, 3))
    with pytest.raises(ValueError, match="needs labels"):
        Projection(4, 3)(torch.randn(2, 4), None)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_projection_adds_the_inner_product_with_the_class_embedding(spectral_norm: bool) -> None:
    head = Projection(4, 3, spectral=Spectral(spectral_norm)).double()
    advance_spectral_norm(head, 300)
    h, y = torch.randn(5, 4).double(), torch.tensor([0, 2, 1, 1, 0])
    weight, table = (
        layer.weight.detach().numpy() / (np.linalg.norm(layer.weight.detach().numpy(), 2) if spectral_norm else 1)
        for layer in (head.linear, head.embedding)
    )
    expected = [weight[0] @ h[n].numpy() + head.linear.bias.item() + table[y[n]] @ h[n].numpy() for n in range(5)]
    np.testing.assert_allclose(head(h, y).detach().numpy(), expected, rtol=1e-9)


def test_projection_without_classes_ignores_labels() -> None:
    head = Projection(4, 0)
    h = torch.randn(3, 4)
    assert torch.equal(head(h, None), head(h, torch.tensor([0, 1, 2])))
    torch.testing.assert_close(head(h, None), head.linear(h)[:, 0])


@pytest.mark.parametrize("classes", [0, 3])
def test_logit_is_in_full_precision_under_autocast(classes: int) -> None:
    head, h, y = Projection(64, classes), torch.randn(8, 64).bfloat16(), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logit = head(h, y)
    assert logit.dtype == torch.float32
    torch.testing.assert_close(logit, head(h.float(), y))


def test_batch_statistics_are_found_at_any_depth() -> None:
    assert has_batch_statistics(nn.Sequential(nn.Sequential(ConditionalBatchNorm2d(2, 2))))
    assert has_batch_statistics(nn.Sequential(nn.BatchNorm2d(2)))
    assert not has_batch_statistics(nn.Sequential(Conv2d(2, 2, 1, spectral=Spectral()), nn.GroupNorm(1, 2)))


def test_meta_layers_can_be_built_and_run() -> None:
    with torch.device("meta"):
        layer = Conv2d(3, 6, 3, spectral=Spectral())
        assert layer(torch.empty(2, 3, 8, 8)).shape == (2, 6, 6, 6)
    advance_spectral_norm(layer)
