"""Orthogonal regularisation against a double loop over rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import ConditionalBatchNorm2d
from steadygan.nets.layers import Conv2d, Embedding, Linear
from steadygan.nets.registry import create_generator
from steadygan.nets.spectral_norm import Spectral
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS

pytestmark = pytest.mark.usefixtures("float64")


def double_loop(w: Tensor) -> Tensor:
    rows = w.flatten(1)
    pairs = [(rows[i] @ rows[j]).square() for i in range(len(rows)) for j in range(len(rows)) if i != j]
    return torch.stack(pairs).sum() if pairs else torch.zeros(())


def penalty(net: nn.Module) -> Tensor:
    (term,) = TERMS["ortho"](Game.of())
    return term.loss(Bundle({"G": net}, Prior(2), torch.Generator(), size=1))


class Net(nn.Module):
    """More rows than columns, fewer, an unnormalised kernel, and every kind of parameter that is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.tall, self.wide = Linear(3, 7), Linear(9, 4)
        self.conv, self.up = Conv2d(2, 5, 3, spectral=Spectral()), nn.ConvTranspose2d(3, 2, 2)
        self.embedding, self.norm = Embedding(4, 3), ConditionalBatchNorm2d(5, 4)
        self.constant = nn.Parameter(torch.randn(2, 4))

    def kernels(self) -> list[Tensor]:
        return [self.tall.weight, self.wide.weight, self.conv.weight, self.up.weight]


def test_value_and_gradient_are_those_of_a_double_loop_over_the_rows_of_every_kernel() -> None:
    net = Net()
    expected = sum(double_loop(kernel) for kernel in net.kernels())
    torch.testing.assert_close(penalty(net), expected, rtol=1e-12, atol=0)
    actual = torch.autograd.grad(penalty(net), net.kernels())
    torch.testing.assert_close(actual, torch.autograd.grad(expected, net.kernels()), rtol=1e-10, atol=1e-12)
    # BigGAN-PyTorch writes half of this gradient.
    for kernel, gradient in zip(net.kernels(), actual, strict=True):
        w = kernel.flatten(1)
        torch.testing.assert_close(gradient.flatten(1), 4 * ((w @ w.T) * (1 - torch.eye(len(w)))) @ w)


def test_tables_with_a_row_for_each_class_are_left_alone() -> None:
    net = Net()
    penalty(net).backward()
    for parameter in (net.embedding.weight, net.norm.gamma, net.norm.beta, net.constant, net.tall.bias):
        assert parameter.grad is None


def test_rows_at_right_angles_cost_nothing_whatever_their_length() -> None:
    net = nn.Linear(5, 4)
    with torch.no_grad():
        net.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))[:4])
    assert float(penalty(net).detach()) == 0


@pytest.mark.parametrize(("kind", "classes"), [("biggan", 4), ("resnet", 0), ("stylegan2", 0)])
def test_every_family_has_kernels_to_regularise(kind: str, classes: int) -> None:
    net = create_generator(kind, size=32, channels=1, classes=classes, latent=16, width=2)
    penalty(net).backward()
    assert sum(parameter.grad is not None for parameter in net.parameters()) > 4


def test_it_is_a_term_of_the_generator_with_the_papers_weight() -> None:
    (term,) = TERMS["ortho"](Game.of())
    assert (term.name, term.player, term.weight, term.needs) == ("ortho", "G", 1e-4, ())
