"""Small runs in float64, for tests of the step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from helpers import state_of
from torch import Tensor, nn

from steadygan.data.images import ImageSet
from steadygan.data.loader import Loader
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.spectral_norm import SpectralNorm
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms
from steadygan.objective.terms import Term
from steadygan.training.ema import EMA
from steadygan.training.state import TrainState

BATCH, LATENT, SIZE = 8, 4, 32
ICR: dict[str, dict[str, Any]] = {"bcr": {}, "zcr": {}}


@dataclass(frozen=True)
class Rolled:
    """A deterministic transform."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x.roll(1, 3)


class Float64Loader(Loader):
    def next(self) -> tuple[Tensor, Tensor | None]:
        x, y = super().next()
        return x.double(), y


class LinearCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(SIZE * SIZE))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1) @ self.w)


class AffineGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(LATENT, SIZE * SIZE)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.linear(z).view(-1, 1, SIZE, SIZE)


def make_state(
    images: ImageSet,
    terms: Mapping[str, Mapping[str, Any]] | Sequence[Term] = (),
    *,
    loss: str = "hinge",
    nets: Mapping[str, nn.Module] | None = None,
    classes: int = 0,
    **options: Any,
) -> TrainState:
    if nets is None:
        sizes: dict[str, Any] = {"size": SIZE, "channels": 1, "classes": classes, "width": 2}
        nets = {
            "G": create_generator("resnet", latent=LATENT, sn_generator=True, **sizes),
            "D": create_critic("resnet", **sizes),
        }
    named = terms if isinstance(terms, Mapping) else {}
    extra = () if isinstance(terms, Mapping) else tuple(terms)
    state: dict[str, Any] = {
        "nets": dict(nets),
        "players": {"D": ("D",), "G": ("G",)},
        "optimizers": {
            name: torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.9), fused=True)
            for name, net in nets.items()
        },
        "terms": (*build_terms(Game.of(Rolled(), loss=loss), terms=named), *extra),
        "loss": LOSSES[loss],
        "phases": ("D", "G"),
        "prior": Prior(LATENT, label_pool=torch.arange(classes) if classes else None),
        "loader": Float64Loader(images, batch_size=BATCH, seed=3),
        "generator": torch.Generator().manual_seed(4),
        "ema": EMA(nets["G"], start=0, half_life=10),
    }
    return state_of(**state | options)


def parameters(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


def gradients(net: nn.Module) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters()]


def same(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[bool]:
    return [torch.equal(x, y) for x, y in zip(a, b, strict=True)]


def singular_vectors(net: nn.Module) -> list[Tensor]:
    layers = [layer for layer in net.modules() if isinstance(layer, SpectralNorm) and layer.spectral_norm]
    assert layers
    return [vector.clone() for layer in layers for vector in (layer.u, layer.v)]


def count_calls(state: TrainState) -> Counter[str]:
    calls: Counter[str] = Counter()
    for name, net in state.nets.items():
        net.register_forward_hook(lambda *_, name=name: calls.update([name]))
    return calls
