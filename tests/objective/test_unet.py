"""U-Net GAN: the arithmetic of the two heads, the distribution of CutMix's mask, mixing, the warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.nets.registry import create_critic, create_generator
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game
from steadygan.objective.registry import TERMS, build_terms
from steadygan.objective.terms import Term
from steadygan.objective.views import CutMix, Gen, Latent, Mask, Real, Relabel

pytestmark = pytest.mark.usefixtures("float64")

N, SIZE = 4, 6
X, Z = Real(), Latent()
G, M = Gen("G", Z), Mask(X)
MIX = CutMix(X, G, M)
BOTH: dict[str, dict[str, Any]] = {"unet": {}, "cutmix": {}}


class Painter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, SIZE**2)
        self.labels: list[Tensor | None] = []

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        self.labels.append(y)
        return torch.tanh(self.linear(z)).view(-1, 1, SIZE, SIZE)


class Judge(nn.Module):
    """A discriminator with pixels, each of which looks at its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.channels, self.classes = SIZE, 1, 0
        self.conv, self.linear = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(SIZE**2, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(self.linear(x.flatten(1)).squeeze(1), pixels=self.conv(x))


def bundle(terms: Sequence[Term], *, classes: int = 0, **options: Any) -> Bundle:
    x = torch.randn(N, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    prior = Prior(3, label_pool=torch.arange(classes) if classes else None)
    y = torch.tensor([2, 1, 0, 2]) if classes else None
    nets = {"G": Painter(), "D": Judge()}
    b = Bundle(nets, prior, torch.Generator().manual_seed(2), size=N, given={X: (x, y)}, **options)
    b.prepare(terms)
    return b


def objective(player: str, loss: str = "non-saturating", prior: Prior | None = None) -> list[Term]:
    return [term for term in build_terms(Game.of(loss=loss, prior=prior), terms=BOTH) if term.player == player]


def total(terms: Sequence[Term], b: Bundle) -> Tensor:
    return torch.stack([term.strength(0) * term.loss(b) for term in terms]).sum()


def test_the_critics_loss_is_that_of_the_authors_arithmetic() -> None:
    terms = objective("D")
    b = bundle(terms)
    d = {view: b.nets["D"](b[view]) for view in (X, G, MIX)}
    bce, m = F.binary_cross_entropy_with_logits, b[M]
    one, zero = torch.ones(()), torch.zeros(())
    real = sum(bce(part, one.expand_as(part)) for part in (d[X].logit, d[X].pixels))
    fake = sum(bce(part, zero.expand_as(part)) for part in (d[G].logit, d[G].pixels))
    mixed = bce(d[MIX].logit, zero.expand(N)) + bce(d[MIX].pixels, m)
    consistency = F.mse_loss(d[MIX].pixels, d[X].pixels * m + d[G].pixels * (1 - m))
    torch.testing.assert_close(total(terms, b), 0.5 * real + 0.5 * fake + mixed + consistency)
    assert float(consistency.detach()) > 0


def test_the_generators_loss_is_half_of_each_head() -> None:
    terms = objective("G")
    b = bundle(terms)
    score = b.nets["D"](b[G])
    expected = 0.5 * F.softplus(-score.logit).mean() + 0.5 * F.softplus(-score.pixels).mean()
    torch.testing.assert_close(total(terms, b), expected)
    assert [(term.name, term.weight) for term in terms] == [("adversarial", 0.5), ("unet", 0.5)]


def test_the_base_loss_is_the_objectives() -> None:
    terms = objective("D", loss="hinge")
    b = bundle(terms)
    values = {term.name: term.loss(b) for term in terms}
    pixels = {view: b.D(view).pixels for view in (X, G, MIX)}
    torch.testing.assert_close(values["unet"], F.relu(1 - pixels[X]).mean() + F.relu(1 + pixels[G]).mean())
    by_mask = torch.where(b[M] > 0, F.relu(1 - pixels[MIX]), F.relu(1 + pixels[MIX]))
    torch.testing.assert_close(values["cutmix_decoder"], by_mask.mean())
    torch.testing.assert_close(values["cutmix_encoder"], F.relu(1 + b.D(MIX).logit).mean())


def test_an_unknown_loss_is_named_before_its_pixels_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"objective\.loss: unknown adversarial loss 'hinj'"):
        build_terms(Game.of(loss="hinj"), terms=BOTH)


def test_without_unet_the_game_keeps_its_weight() -> None:
    terms = build_terms(Game.of(loss="hinge"), terms={"cutmix": {"augment": 0}})
    assert [(term.name, term.weight) for term in terms] == [("adversarial", 1), ("adversarial", 1), ("cutmix", 1)]
    weighed = build_terms(Game.of(loss="hinge"), terms={"unet": {"encoder": 0.25, "decoder": 2}})
    assert [term.weight for term in weighed] == [0.25, 0.25, 2, 2]


def test_one_pass_of_each_network_serves_both_terms() -> None:
    calls: list[int] = []
    terms = objective("D")
    nets = {"G": Painter(), "D": Judge()}
    nets["D"].register_forward_hook(lambda _, args, out: calls.append(len(args[0])))
    x = torch.randn(N, 1, SIZE, SIZE)
    Bundle(nets, Prior(3), torch.Generator(), size=N, given={X: (x, None)}).prepare(terms)
    assert calls == [3 * N]
    assert len(nets["G"].labels) == 1


def naive_masks(count: int, size: int) -> np.ndarray:
    """The authors' distribution, reimplemented one box at a time."""
    rng = np.random.default_rng(0)
    masks = np.ones((count, size, size))
    for mask in masks:
        side = int(size * np.sqrt(1 - rng.beta(1, 1)))
        row, column = rng.integers(size), rng.integers(size)
        top, left = max(row - side // 2, 0), max(column - side // 2, 0)
        mask[top : min(row + side // 2, size), left : min(column + side // 2, size)] = 0
        if rng.random() > 0.5:
            mask[:] = 1 - mask
    return masks


def masks(count: int, size: int) -> np.ndarray:
    given = {X: (torch.zeros(count, 2, size, size), None)}
    b = Bundle({}, Prior(1), torch.Generator().manual_seed(3), size=count, given=given)
    assert b[M].shape == (count, 1, size, size)
    assert b[M].dtype == b[X].dtype
    return b[M].squeeze(1).numpy()


def test_masks_follow_the_authors_law() -> None:
    ours, theirs = masks(8000, 12), naive_masks(8000, 12)
    assert set(np.unique(ours)) == {0.0, 1.0}
    areas = [np.sort(m.mean((1, 2))) for m in (ours, theirs)]
    grid = np.linspace(0, 1, 40)
    shares = [np.searchsorted(a, grid) / len(a) for a in areas]
    assert np.abs(shares[0] - shares[1]).max() < 0.03
    # Where boxes lie: how often a pixel is on the same side as the corner.
    agree = [(m == m[:, :1, :1]).mean(0) for m in (ours, theirs)]
    assert np.abs(agree[0] - agree[1]).max() < 0.03
    assert abs(ours.mean() - 0.5) < 0.01


def test_a_mask_is_one_box_or_its_complement() -> None:
    for mask in masks(200, 9):
        boxed = min((mask, 1 - mask), key=lambda part: part.sum())
        rows, columns = boxed.any(1), boxed.any(0)
        complement = 1 - boxed
        other_rows, other_columns = complement.any(1), complement.any(0)
        filled = boxed.sum() == rows.sum() * columns.sum()
        assert filled or complement.sum() == other_rows.sum() * other_columns.sum()


def test_the_mix_is_real_where_the_mask_is_one() -> None:
    b = bundle(objective("D"))
    on = (b[M] == 1).expand_as(b[X])
    assert torch.equal(b[MIX][on], b[X][on])
    assert torch.equal(b[MIX][~on], b[G][~on])
    assert 0 < int(on.sum()) < on.numel()
    assert not torch.equal(b[M], b[Mask(X, draw=1)])


def test_an_augmented_mix_is_the_mix_of_what_the_critic_sees() -> None:
    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + torch.randn(x.shape, generator=generator)

    b = bundle(objective("D"), pre_d=noisy)
    torch.testing.assert_close(b.seen(MIX), b[M] * b.seen(X) + (1 - b[M]) * b.seen(G))
    assert not torch.equal(b.seen(X), b[X])


def test_the_fakes_of_a_mix_have_the_labels_of_its_reals() -> None:
    prior = Prior(3, label_pool=torch.arange(3))
    terms = objective("D", prior=prior)
    b = bundle(terms, classes=3)
    same = Gen("G", Relabel(Z, X))
    mix = CutMix(X, same, M)
    (cutmix,) = [term for term in terms if term.name == "cutmix"]
    assert cutmix.score == (mix, X, same)
    assert b.labels(mix).tolist() == b.labels(same).tolist() == [2, 1, 0, 2]
    assert torch.equal(b[Relabel(Z, X)], b[Z])
    assert [y.tolist() for y in b.nets["G"].labels] == [[*b.labels(Z).tolist(), 2, 1, 0, 2]]
    assert total(terms, b).isfinite()


def test_the_warm_up_is_the_odds_of_a_cutmix_step() -> None:
    terms = TERMS["cutmix"](Game.of(), warmup=100)
    for step, r in ((0, 0.0), (50, 0.25), (100, 0.5), (1000, 0.5)):
        assert [term.strength(step) for term in terms] == [pytest.approx(r / (1 - r))] * 3
    assert all(term.strength(0) == 1 for term in TERMS["cutmix"](Game.of()))


@pytest.mark.parametrize("classes", [0, 3])
def test_it_trains_the_unet_family(classes: int) -> None:
    sizes: dict[str, Any] = {"size": 32, "channels": 1, "classes": classes, "width": 1}
    nets = {"G": create_generator("unet", latent=16, **sizes), "D": create_critic("unet", **sizes)}
    prior = Prior(16, label_pool=torch.arange(classes) if classes else None)
    terms = build_terms(Game.of(nets=nets, prior=prior, loss="non-saturating"), terms=BOTH)
    assert nets["D"].training
    x, y = torch.rand(2, 1, 32, 32) * 2 - 1, torch.tensor([0, 2]) if classes else None
    b = Bundle(nets, prior, torch.Generator().manual_seed(2), size=2, given={X: (x, y)})
    mine = [term for term in terms if term.player == "D"]
    b.prepare(mine)
    total(mine, b).backward()
    assert all(parameter.grad is not None for parameter in nets["D"].parameters())
