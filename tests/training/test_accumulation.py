"""Micro-batches: the gradient of the whole batch for every term without batch statistics, and what the others do.

A phase of 8 images is run in one piece, in two and in four, on the same draws: every random tensor of a micro-batch is
the rows of its images out of the one that the whole batch draws.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from helpers import state_of
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from steadygan.data.images import ImageSet, load_images
from steadygan.data.loader import Loader
from steadygan.data.source import open_source
from steadygan.generators.prior import Prior
from steadygan.nets.batch_norm import BatchNorm2d, MinibatchStddev, has_batch_statistics
from steadygan.nets.layers import Conv2d, Embedding, Linear, Score
from steadygan.nets.spectral_norm import Spectral
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS, build_terms
from steadygan.training.ema import EMA
from steadygan.training.state import TrainState
from steadygan.training.step import run_phase
from steadygan.transforms.consistency import Consistency
from steadygan.transforms.diffaugment import DiffAugment

pytestmark = pytest.mark.usefixtures("float64")

# No other dimension of a random tensor is one of the sizes 8, 4 and 2 of a batch.
BATCH, SIZE, LATENT, CHANNELS, CLASSES = 8, 9, 5, 3, 10

EXACT: Mapping[str, Mapping[str, Any]] = {
    "cr": {"cr": {}},
    "bcr": {"bcr": {}},
    "zcr": {"zcr": {"sigma": 0.3}},
    "r1": {"r1": {}},
    "r2": {"r2": {}},
    "gp": {"gp": {}},
    "jsreg": {"jsreg": {"gamma": 2.0}},
    "logan": {"logan": {"steps": 2, "fraction": 0.6}},
    "unet": {"unet": {}},
    "cutmix": {"cutmix": {}},
    "ortho": {"ortho": {"weight": 0.1}},
}
INEXACT: Mapping[str, Mapping[str, Any]] = {
    "dragan": {"dragan": {}},
    "lecam": {"lecam": {"start": 0, "one_sided": False}},
    "path_length": {"path_length": {"shrink": 1, "every": 1}},
}
DRAWS: dict[Callable[..., Tensor], str] = {torch.rand: "rand", torch.randn: "randn", torch.randint: "randint"}


class Rows(TorchFunctionMode):
    """Gives the k-th random tensor of every micro-batch the rows of its images in the k-th one of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.size = self.start = self.calls = 0

    def begin(self, size: int) -> None:
        """The next micro-batch has `size` images."""
        self.start, self.size, self.calls = (self.start + self.size) % BATCH, size, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in DRAWS or not self.size:
            return func(*args, **kwargs)
        *bounds, shape = args if isinstance(args[-1], tuple | list) else (args,)
        (where,) = [place for place, length in enumerate(shape) if length == self.size]
        whole = [BATCH if place == where else length for place, length in enumerate(shape)]
        self.calls += 1
        drawn = func(*bounds, whole, **kwargs | {"generator": torch.Generator().manual_seed(self.calls)})
        return drawn.narrow(where, self.start, self.size).clone()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rows]:
    draws = Rows()
    init = Bundle.__init__

    def begun(b: Bundle, *args: Any, size: int, **options: Any) -> None:
        draws.begin(size)
        init(b, *args, size=size, **options)

    monkeypatch.setattr(Bundle, "__init__", begun)
    with draws:
        yield draws


class Generator(nn.Module):
    """z → w → image; smooth, of spectrally normalised and other weights, with batch norm or without."""

    def __init__(self, classes: int = 0, *, norm: bool = False) -> None:
        super().__init__()
        self.size, self.channels, self.classes, self.latent = SIZE, 1, classes, LATENT
        self.mapping = Linear(LATENT, LATENT)
        self.rows = Embedding(classes, LATENT) if classes else None
        self.seed = Linear(LATENT, CHANNELS * SIZE**2, spectral=Spectral())
        self.norm = BatchNorm2d(CHANNELS) if norm else nn.Identity()
        self.out = Conv2d(CHANNELS, 1, 3, padding=1)

    def map(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        w = self.mapping(z)
        return torch.tanh(w if self.rows is None else w + self.rows(y))[:, None].expand(-1, 3, -1)

    def synthesise(self, w: Tensor) -> Tensor:
        h = self.seed(w.mean(1)).view(-1, CHANNELS, SIZE, SIZE)
        return torch.tanh(self.out(nn.functional.softplus(self.norm(h))))

    def truncate(self, w: Tensor, truncation: float | None) -> Tensor:
        return w if truncation is None else truncation * w

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.synthesise(self.map(z, y))


class Critic(nn.Module):
    """A smooth discriminator with pixels, with minibatch standard deviation or without."""

    def __init__(self, classes: int = 0, *, stddev: int = 0) -> None:
        super().__init__()
        self.size, self.channels, self.classes = SIZE, 1, classes
        self.conv = Conv2d(1, CHANNELS, 3, padding=1, spectral=Spectral())
        self.stddev = MinibatchStddev(stddev) if stddev else nn.Identity()
        self.linear = Linear(CHANNELS + bool(stddev), 1, spectral=Spectral())
        self.rows = Embedding(classes, 1) if classes else None
        self.pixels = Conv2d(CHANNELS, 1, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        h = torch.tanh(self.conv(x))
        logit = self.linear(self.stddev(h).mean((2, 3)))
        if self.rows is not None:
            logit = logit + self.rows(y)
        return Score(3 * logit.squeeze(1), pixels=self.pixels(h))


class Float64Loader(Loader):
    def next(self) -> tuple[Tensor, Tensor | None]:
        x, y = super().next()
        return x.double(), y


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load_images(open_source("digits", size=SIZE), range(40))


def make_state(
    images: ImageSet, terms: Mapping[str, Any], nets: Mapping[str, nn.Module], *, batch: int = BATCH, **options: Any
) -> TrainState:
    """Networks are copied, so that every state starts from the same weights."""
    nets = copy.deepcopy(dict(nets))
    classes = nets["G"].classes
    prior = Prior(LATENT, "uniform", torch.arange(classes) if classes else None)
    loss = LOSSES["non-saturating"]
    game = Game.of(Consistency(cutout=0.5), loss=loss, nets=nets, prior=prior, pre_d=options.get("pre_d"))
    return state_of(
        nets=nets,
        players={"D": ("D",), "G": ("G",)},
        optimizers={name: torch.optim.Adam(net.parameters(), fused=True) for name, net in nets.items()},
        terms=build_terms(game, terms=terms),
        loss=loss,
        phases=("D", "G"),
        prior=prior,
        loader=Float64Loader(images, batch_size=batch, seed=3),
        generator=torch.Generator(),
        ema=EMA(nets["G"], start=0, half_life=10),
        joint=not has_batch_statistics(nets["D"]),
        **options,
    )


def make_nets(classes: int = 0, *, norm: bool = False, stddev: int = 0) -> dict[str, nn.Module]:
    return {"G": Generator(classes, norm=norm), "D": Critic(classes, stddev=stddev)}


def gradients(state: TrainState, player: str) -> dict[str, Tensor]:
    run_phase(state, player)
    named = state.nets[player].named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


# See tests/training/test_translation.py.
OF_TRANSLATIONS = {"cycle", "synthesised", "identity", "paired"}
# See tests/objective/test_self_supervised.py: they need FastGAN's networks.
OF_FASTGAN = {"two_scales", "reconstruction"}


def close(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.allclose(a[name], b[name], rtol=1e-9, atol=1e-12) for name in a)


def players(terms: Mapping[str, Any]) -> list[str]:
    """Whom the terms, without the game, belong to."""
    made = build_terms(Game.of(Consistency(), loss="hinge"), terms=terms)
    return sorted({term.player for term in made if term.name != "adversarial"})


def test_every_term_is_known_to_be_exact_or_not() -> None:
    assert EXACT.keys() | INEXACT.keys() | OF_TRANSLATIONS | OF_FASTGAN == TERMS.keys()
    assert not EXACT.keys() & INEXACT.keys()


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", [*EXACT, "diffaugment", "bare", "through"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    name: str, classes: int, images: ImageSet, rows: Rows
) -> None:
    options: dict[str, Any] = {}
    terms = EXACT.get(name, {})
    if name not in EXACT:
        options["pre_d"] = DiffAugment(("color", "translation", "cutout"))
        terms = {"diffaugment": {}, "bare": {"cr": {"target": "bare"}}, "through": {"r1": {"through": True}}}[name]
    nets = make_nets(classes)
    game = {player: gradients(make_state(images, {}, nets), player) for player in ("D", "G")}
    for player in ("D", "G"):
        whole = make_state(images, terms, nets, **options)
        expected = gradients(whole, player)
        if options or player in players(terms):
            assert expected.keys() != game[player].keys() or not close(expected, game[player])
        for accumulate in (2, 4):
            parts = make_state(images, terms, nets, accumulate=accumulate, **options)
            actual = gradients(parts, player)
            assert actual.keys() == expected.keys()
            for key in actual:
                torch.testing.assert_close(actual[key], expected[key], rtol=1e-9, atol=1e-13, msg=key)
            assert parts.images == whole.images


def test_all_exact_terms_together_are_exact(images: ImageSet, rows: Rows) -> None:
    terms = {name: options for group in EXACT.values() for name, options in group.items() if name != "cr"}
    nets, pre_d = make_nets(), DiffAugment(("color", "cutout"))
    for player in ("D", "G"):
        whole, parts = (make_state(images, terms, nets, accumulate=k, pre_d=pre_d) for k in (1, 4))
        expected, actual = run_phase(whole, player), run_phase(parts, player)
        assert actual.keys() == expected.keys()
        for key, value in actual.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-13, msg=key)


def halves(images: ImageSet, terms: Mapping[str, Any], nets: Mapping[str, nn.Module], player: str) -> dict[str, Tensor]:
    """The mean of the gradients of the two halves of the batch, each run as a batch of its own."""
    first = make_state(images, terms, nets, batch=BATCH // 2)
    second = copy.deepcopy(first)
    second.loader.next()
    one, two = gradients(first, player), gradients(second, player)
    return {name: (one[name] + two[name]) / 2 for name in one}


@pytest.mark.parametrize(
    ("player", "terms", "options"),
    [
        ("D", INEXACT["dragan"], {}),
        ("D", {"bcr": {}}, {"norm": True}),
        ("G", {"zcr": {}}, {"norm": True}),
        ("D", {"bcr": {}}, {"stddev": 4}),
        ("G", {}, {"stddev": 4}),
    ],
    ids=["dragan", "batch norm, D", "batch norm, G", "minibatch stddev, D", "minibatch stddev, G"],
)
def test_statistics_of_the_batch_are_those_of_each_micro_batch(
    player: str, terms: Mapping[str, Any], options: dict[str, Any], images: ImageSet, rows: Rows
) -> None:
    nets = make_nets(**options)
    parts = gradients(make_state(images, terms, nets, accumulate=2), player)
    assert close(parts, halves(images, terms, nets, player))
    assert not close(parts, gradients(make_state(images, terms, nets), player))


def test_an_accumulated_batch_norm_sees_every_micro_batch_once(images: ImageSet, rows: Rows) -> None:
    state = make_state(images, {}, make_nets(norm=True), accumulate=4)
    norm, seen = state.nets["G"].norm, []
    norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    mean = norm.running_mean.clone()
    run_phase(state, "G")
    assert [len(x) for x in seen] == [2] * 4
    for x in seen:
        mean = mean.lerp(x.mean((0, 2, 3)), norm.momentum)
    torch.testing.assert_close(norm.running_mean, mean)


def test_lecam_averages_once_in_each_micro_batch(images: ImageSet, rows: Rows) -> None:
    nets, terms = make_nets(), INEXACT["lecam"]
    whole, parts = (make_state(images, terms, nets, accumulate=k) for k in (1, 2))
    logits: list[Tensor] = []
    parts.nets["D"].register_forward_hook(lambda _, args, out: logits.append(out.logit.detach()))
    values = run_phase(parts, "D")
    real, fake = zip(*(pass_.chunk(2) for pass_ in logits), strict=True)
    memory = parts.memories["D/lecam"]
    expected = []
    for average, means in ((memory.real, [r.mean() for r in real]), (memory.fake, [f.mean() for f in fake])):
        states = [means[0], means[0].lerp(means[1], 0.1)]
        torch.testing.assert_close(average.mean, states[1])
        expected.append(states)
    penalties = [
        (real[i] - expected[1][i]).square().mean() + (fake[i] - expected[0][i]).square().mean() for i in range(2)
    ]
    torch.testing.assert_close(values["D/lecam"], torch.stack(penalties).mean())
    assert not close(
        gradients(whole, "D"), {n: p.grad for n, p in parts.nets["D"].named_parameters() if p.grad is not None}
    )


def test_path_lengths_are_drawn_to_an_average_that_moves_in_each_micro_batch(images: ImageSet, rows: Rows) -> None:
    nets, terms = make_nets(), INEXACT["path_length"]
    whole, parts = (make_state(images, terms, nets, accumulate=k) for k in (1, 2))
    lengths = []
    for state in (whole, parts):
        memory, taken = state.memories["G/path_length"], []
        memory.average.register_forward_hook(lambda _, args, out, taken=taken: taken.append((args[0].detach(), out)))
        lengths.append(taken)
    assert not close(gradients(whole, "G"), gradients(parts, "G"))
    (((once, at_once),), ((first, after_first), (second, after_second))) = lengths
    torch.testing.assert_close((first + second) / 2, once)
    torch.testing.assert_close(at_once, 0.01 * once)
    torch.testing.assert_close(after_first, 0.01 * first)
    torch.testing.assert_close(after_second, (0.99 * 0.01) * first + 0.01 * second)
