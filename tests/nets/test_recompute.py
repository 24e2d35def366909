"""Blocks that recompute their activations: the same step bit for bit, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from steadygan.nets.batch_norm import set_batch_groups
from steadygan.nets.recompute import Block, set_recompute
from steadygan.nets.registry import create_critic, create_generator

SIZES: dict[str, Any] = {"size": 32, "channels": 3, "classes": 3, "width": 4}


def pair(role: str, kind: str) -> list[nn.Module]:
    """Two equal networks, of which the second recomputes."""
    nets = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = create_critic(kind, **SIZES) if role == "critic" else create_generator(kind, latent=16, **SIZES)
        assert set_recompute(net, recompute) > 0
        nets.append(net)
    return nets


@pytest.mark.parametrize("kind", ["resnet", "sagan", "biggan", "biggan-deep", "unet", "stylegan2"])
def test_a_critic_under_a_penalty_has_the_same_gradients(kind: str) -> None:
    results = []
    for net in pair("critic", kind):
        x = torch.linspace(-1, 1, 4 * 3 * 32 * 32).view(4, 3, 32, 32).requires_grad_()
        logit = net(x, torch.arange(4) % 3).logit
        (slope,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
        (slope.square().sum() + logit.square().sum()).backward()
        results.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["resnet", "sagan", "biggan", "biggan-deep", "stylegan2"])
def test_a_generator_draws_the_same_noise_and_moves_its_statistics_once(kind: str) -> None:
    """Groups of batch norm are set for the call and are others by the time of the backward pass."""
    results = []
    for net in pair("generator", kind):
        for layer in net.modules():
            if isinstance(getattr(layer, "strength", None), nn.Parameter):
                layer.strength.data.fill_(1)
        z = torch.linspace(-1, 1, 4 * 16).view(4, 16)
        torch.manual_seed(1)
        set_batch_groups(net, 2)
        images = net(z, torch.arange(4) % 3)
        set_batch_groups(net, 1)
        images.square().sum().backward()
        results.append({**net.state_dict(), **{f"∂{name}": p.grad for name, p in net.named_parameters()}})
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_only_the_inputs_of_blocks_are_kept() -> None:
    kept = []
    for net in pair("critic", "biggan"):
        size = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal size
            size += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            net(torch.zeros(4, 3, 32, 32), torch.arange(4) % 3)
        kept.append(size)
    assert kept[1] < 0.5 * kept[0]


def test_a_block_recomputes_only_where_there_is_a_graph() -> None:
    class Counted(Block):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x.exp()

    block = Counted()
    block.recompute = True
    with torch.no_grad():
        block(torch.ones(2))
    assert block.calls == 1
    block(torch.ones(2, requires_grad=True)).sum().backward()
    assert block.calls == 3
