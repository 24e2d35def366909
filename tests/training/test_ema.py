"""The average of G's weights against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.layers import Linear
from steadygan.nets.spectral_norm import Spectral, advance_spectral_norm
from steadygan.training.ema import EMA

pytestmark = pytest.mark.usefixtures("float64")


def make_net() -> nn.Sequential:
    return nn.Sequential(Linear(3, 4, spectral=Spectral()), nn.Unflatten(1, (4, 1, 1)), BatchNorm2d(4))


@torch.no_grad()
def move(net: nn.Module) -> None:
    """What a training step does: other weights, other statistics, other singular vectors."""
    for parameter in net.parameters():
        parameter += torch.randn_like(parameter)
    net.train()(torch.randn(5, 3))
    advance_spectral_norm(net)


def test_the_average_is_the_weighted_sum_of_all_past_weights() -> None:
    net = make_net()
    history = [[p.detach().clone() for p in net.parameters()]]
    ema = EMA(net, start=0, half_life=2.0)
    for step in range(6):
        move(net)
        ema.update(net, step)
        history.append([p.detach().clone() for p in net.parameters()])
    d = 2**-0.5
    weights = [d**6] + [(1 - d) * d ** (6 - step) for step in range(1, 7)]
    assert sum(weights) == pytest.approx(1)
    for index, actual in enumerate(ema.net.parameters()):
        expected = sum(w * tensors[index] for w, tensors in zip(weights, history, strict=True))
        torch.testing.assert_close(actual.detach(), expected)


def test_after_half_life_updates_half_of_the_distance_is_left() -> None:
    net = nn.Linear(2, 2)
    ema = EMA(net, start=0, half_life=7)
    before = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    for step in range(7):
        ema.update(net, step)
    torch.testing.assert_close(ema.net.weight, before + 0.5)


def test_until_its_start_the_average_is_an_exact_copy() -> None:
    net = make_net()
    ema = EMA(net, start=3, half_life=100)
    for step in range(3):
        move(net)
        ema.update(net, step)
        assert all(torch.equal(a, b) for a, b in zip(ema.net.parameters(), net.parameters(), strict=True))
    move(net)
    ema.update(net, 3)
    assert not any(torch.equal(a, b) for a, b in zip(ema.net.parameters(), net.parameters(), strict=True))


def test_without_a_half_life_it_is_always_a_copy() -> None:
    net = make_net()
    ema = EMA(net, start=0, half_life=None)
    for step in range(2):
        move(net)
        ema.update(net, step)
    assert all(torch.equal(a, b) for a, b in zip(ema.net.parameters(), net.parameters(), strict=True))


def test_buffers_are_copied_not_averaged() -> None:
    net = make_net()
    ema = EMA(net, start=0, half_life=100)
    before = {name: buffer.clone() for name, buffer in ema.net.named_buffers()}
    move(net)
    ema.update(net, 0)
    for (name, actual), expected in zip(ema.net.named_buffers(), net.buffers(), strict=True):
        assert torch.equal(actual, expected)
        assert not torch.equal(actual, before[name])
    assert {"0.u", "0.v", "2.running_mean", "2.num_batches_tracked"} <= before.keys()


def test_the_average_is_a_network_of_its_own_that_nobody_trains() -> None:
    net = make_net()
    ema = EMA(net, start=0, half_life=100)
    assert not any(parameter.requires_grad for parameter in ema.net.parameters())
    assert not any(module.training for module in ema.net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())
    kept = {name: tensor.clone() for name, tensor in ema.net.state_dict().items()}
    move(net)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in ema.net.state_dict().items())
