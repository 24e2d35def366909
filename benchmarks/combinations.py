"""Which methods train together: every pair takes one step on tiny networks; writes docs/combinations.md.

    python benchmarks/combinations.py

A pair trains when one D phase and one G phase give finite losses and move both networks. Otherwise it must be refused
with a reason before training. Every pair is written by the same terms and views that a configuration names.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d
from steadygan.nets.fastgan import quarters_of
from steadygan.nets.layers import Conv2d, Linear, Score
from steadygan.nets.registry import create_critic, create_generator
from steadygan.nets.spectral_norm import Spectral
from steadygan.objective.adaptive import deceived, watch
from steadygan.objective.batch import Transform
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms
from steadygan.training.ema import EMA
from steadygan.training.execution import Execution
from steadygan.training.phases import Objective
from steadygan.training.state import TrainState
from steadygan.training.step import train_step
from steadygan.transforms.ada import ADA, DEFAULT, strengths
from steadygan.transforms.adaptive import Controller
from steadygan.transforms.chain import Chain
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

SIZE, LATENT, BATCH, CHANNELS = 8, 6, 4, 3
TRAINS = "trains"
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "combinations.md"

METHODS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "cr": {"cr": {}},
    "bcr": {"bcr": {}},
    "zcr": {"zcr": {}},
    "diffaugment": {},
    "ada": {},
    "apa": {},
    "r1": {"r1": {}},
    "r2": {"r2": {}},
    "gp": {"gp": {}},
    "dragan": {"dragan": {}},
    "jsreg": {"jsreg": {}},
    "logan": {"logan": {}},
    "unet + cutmix": {"unet": {}, "cutmix": {}},
    "ortho": {"ortho": {}},
    "lecam": {"lecam": {"start": 0}},
    "path_length": {"path_length": {}},
    "relativistic": {},
    "fastgan": {"two_scales": {}, "reconstruction": {}},
}


class Generator(nn.Module):
    """z → w → image, with batch norm; at half of the side, too, where it is asked for (FastGAN's terms)."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.channels, self.classes, self.latent = SIZE, 1, 0, LATENT
        self.mapping, self.seed = Linear(LATENT, LATENT), Linear(LATENT, CHANNELS * SIZE**2)
        self.norm, self.out = BatchNorm2d(CHANNELS), Conv2d(CHANNELS, 1, 3, padding=1)

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.tanh(self.mapping(z))[:, None].expand(-1, 2, -1)

    def synthesise(self, w: Tensor) -> Tensor:
        h = self.seed(w.sum(1)).view(-1, CHANNELS, SIZE, SIZE)
        return torch.tanh(self.out(F.softplus(self.norm(h))))

    def truncate(self, w: Tensor, truncation: float | None) -> Tensor:
        return w if truncation is None else truncation * w

    def forward(self, z: Tensor, y: Tensor | None = None, *, scales: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        image = self.synthesise(self.map(z, y))
        return (image, F.avg_pool2d(image, 2)) if scales else image


class Critic(nn.Module):
    """A spectrally normalised discriminator with pixels, of both scales, that reconstructs what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.channels, self.classes, self.small = SIZE, 1, 0, SIZE // 2
        self.conv = Conv2d(1, CHANNELS, 3, padding=1, spectral=Spectral())
        self.pixels, self.linear = Conv2d(CHANNELS, 1, 1), Linear(CHANNELS, 1, spectral=Spectral())

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        h = F.leaky_relu(self.conv(x), 0.1)
        features = h.mean((2, 3))
        return Score(self.linear(features).squeeze(1), features=features, pixels=self.pixels(h))

    def reconstruct(self, x: Tensor, small: Tensor, quarter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part = torch.stack(quarters_of(x)).index_select(0, quarter)[0]
        whole, part, reduced = (self.pixels(self.conv(image)) for image in (x, part, small))
        return whole, part, reduced


@cache
def images() -> ImageSet:
    return load_images(open_source("digits", size=SIZE), range(32))


def tiny_state(
    terms: Mapping[str, Mapping[str, Any]],
    *,
    nets: Mapping[str, nn.Module] | None = None,
    prior: Prior | None = None,
    loss: str = "non-saturating",
    steered: Mapping[str, Controller] = MappingProxyType({}),
    accumulate: int = 1,
    **options: Any,
) -> TrainState:
    """A run of these terms before its first step, from seed 0. Raises UserError for refused combinations."""
    torch.manual_seed(0)
    nets = dict(nets or {"G": Generator(), "D": Critic()})
    prior = prior or Prior(LATENT, "uniform")
    game = Game.of(Consistency(), loss=loss, nets=nets, prior=prior, pre_d=options.get("pre_d"))
    game = deceived(game, steered["apa"]) if "apa" in steered else game
    made = build_terms(game, terms=terms)
    objective = Objective(
        players={"D": ("D",), "G": ("G",)},
        terms=made + tuple(term for name in steered for term in watch(made, game.loss, name, steered[name])),
        loss=game.loss,
        phases=("D", "G"),
        prior=prior,
        **options,
    )
    return TrainState(
        nets=nets,
        objective=objective,
        execution=Execution(accumulate=accumulate),
        optimizers={name: torch.optim.Adam(net.parameters(), lr=1e-3, fused=True) for name, net in nets.items()},
        loader=Loader(images(), batch_size=BATCH, seed=0),
        generator=torch.Generator().manual_seed(0),
        ema=EMA(nets["G"], start=0, half_life=10),
    )


def outcome(methods: Sequence[str]) -> str:
    """`TRAINS`, or the reason for which these methods together are refused. Raises ValueError when neither holds."""
    terms = {name: options for method in methods for name, options in METHODS[method].items()}
    try:
        steered = {name: Controller(p=0.5) for name in ("ada", "apa") if name in methods}
        stages: list[Transform] = [DiffAugment(("color", "cutout"))] if "diffaugment" in methods else []
        stages += [ADA(steered["ada"], strengths(DEFAULT))] if "ada" in steered else []
        loss = "relativistic" if "relativistic" in methods else "non-saturating"
        state = tiny_state(terms, loss=loss, steered=steered, pre_d=Chain(tuple(stages)) if stages else None)
    except UserError as error:
        return str(error)
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in state.nets.items()}
    values = train_step(state)
    broken = [name for name, value in values.items() if not value.isfinite()]
    broken += [f"{t.player}/{t.name}" for t in state.objective.terms if f"{t.player}/{t.name}" not in values]
    still = [
        name
        for name, net in state.nets.items()
        if all(torch.equal(old, new) for old, new in zip(before[name], net.parameters(), strict=True))
    ]
    if broken or still or int(state.skipped):
        raise ValueError(f"{' and '.join(methods)}: not finite or not there: {broken}; did not move: {still}")
    return TRAINS


def outcomes() -> dict[tuple[str, str], str]:
    """The outcome of every pair; a method with itself stands for the method alone."""
    pairs = itertools.combinations_with_replacement(METHODS, 2)
    return {(first, second): outcome(dict.fromkeys((first, second))) for first, second in pairs}


NEEDY: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("unet", "cutmix", "path_length", "logan", "two_scales", "reconstruction")},
    "cr": {"target": "bare"},
}
"""Methods that need something of the networks, the prior or the augmentation."""


def without(method: str) -> TrainState:
    """A run without the method's requirements. Raises UserError, which names them."""
    sizes: dict[str, Any] = {"size": SIZE, "channels": 1, "classes": 0, "width": 1}
    nets = {"G": create_generator("dcgan", latent=LATENT, **sizes), "D": create_critic("dcgan", **sizes)}
    return tiny_state({method: NEEDY[method]}, nets=nets, prior=Prior(LATENT, "normal"))


def requirements() -> list[str]:
    """The error of each method without its requirements. Raises ValueError if one is not refused."""
    said = []
    for method in NEEDY:
        try:
            without(method)
        except UserError as error:
            said.append(str(error))
        else:
            raise ValueError(f"{method} was not refused")
    return said


def render(table: Mapping[tuple[str, str], str], required: Sequence[str]) -> str:
    """The document."""
    reasons = list(dict.fromkeys(result for result in table.values() if result != TRAINS))
    lines = [
        "# Which methods train together",
        "",
        "Written by `python benchmarks/combinations.py`, checked by the tests. ✓: one phase of each player gives",
        "finite losses and moves both networks (on the diagonal: the method alone). A number: refused before training.",
        "",
        "| | " + " | ".join(METHODS) + " |",
        "|---" * (len(METHODS) + 1) + "|",
    ]
    for first in METHODS:
        results = [table.get((first, second)) or table[second, first] for second in METHODS]
        marks = ["✓" if result == TRAINS else str(reasons.index(result) + 1) for result in results]
        lines.append(f"| **{first}** | " + " | ".join(marks) + " |")
    lines += ["", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))]
    lines += ["", "What some methods need, and the message without it:", ""]
    lines += [f"- {reason}" for reason in required]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    DOCUMENT.write_text(render(outcomes(), requirements()), encoding="utf-8")
    print(DOCUMENT)
