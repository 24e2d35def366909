"""Each adversarial loss against its formula, on given logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.adversarial import LOSSES, find_loss
from steadygan.objective.bundle import Bundle
from steadygan.objective.game import Game, adversarial
from steadygan.objective.registry import build_terms
from steadygan.objective.views import Gen, Latent, Real, Relabel

pytestmark = pytest.mark.usefixtures("float64")

REAL, FAKE = np.array([-3.0, -0.5, 0.0, 0.25, 1.0, 4.0]), np.array([-5.0, -1.0, -0.2, 0.0, 0.7, 2.0])


class Readout(nn.Module):
    """A discriminator of 1×1 images, whose only pixel is the logit."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1).squeeze(1))


def sigmoid(d: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-d))


def losses(loss: str, real: np.ndarray, fake: np.ndarray) -> dict[str, Tensor]:
    game = Game.of(loss=loss)
    given = {
        game.real: (torch.from_numpy(real)[:, None, None, None], None),
        game.fake: (torch.from_numpy(fake)[:, None, None, None], None),
    }
    b = Bundle({"D": Readout()}, Prior(1), torch.Generator(), size=len(real), given=given)
    terms = adversarial(game)
    b.prepare(terms)
    return {term.player: term.loss(b) for term in terms}


EXPECTED = {
    "non-saturating": (
        -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean(),
        -np.log(sigmoid(FAKE)).mean(),
    ),
    "hinge": (np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean(), -FAKE.mean()),
    "wasserstein": (FAKE.mean() - REAL.mean(), -FAKE.mean()),
    "least-squares": (
        0.5 * ((REAL - 1) ** 2).mean() + 0.5 * (FAKE**2).mean(),
        0.5 * ((FAKE - 1) ** 2).mean(),
    ),
    "relativistic": (-np.log(sigmoid(REAL - FAKE)).mean(), -np.log(sigmoid(FAKE - REAL)).mean()),
}


def test_every_loss_has_a_closed_form_below() -> None:
    assert set(EXPECTED) == set(LOSSES)


@pytest.mark.parametrize("loss", EXPECTED)
def test_both_players_minimise_the_formula(loss: str) -> None:
    actual = losses(loss, REAL, FAKE)
    critic, generator = EXPECTED[loss]
    assert float(actual["D"]) == pytest.approx(critic, rel=1e-12)
    assert float(actual["G"]) == pytest.approx(generator, rel=1e-12)


def test_a_certain_critic_does_not_overflow_the_non_saturating_loss() -> None:
    wrong = losses("non-saturating", np.array([-1000.0]), np.array([1000.0]))
    assert float(wrong["D"]) == 2000
    right = losses("non-saturating", np.array([1000.0]), np.array([-1000.0]))
    assert float(right["D"]) == 0
    assert float(right["G"]) == 1000


@pytest.mark.parametrize("loss", LOSSES)
def test_at_its_boundary_a_logit_costs_a_real_as_much_as_a_fake_and_together_what_an_undecided_critic_pays(
    loss: str,
) -> None:
    entry = LOSSES[loss]
    if entry.boundary is None:
        assert loss in ("wasserstein", "relativistic")
        return
    assert entry.sides is not None
    real, fake = entry.sides
    at, above = torch.tensor(entry.boundary), torch.tensor(entry.boundary + 0.1)
    assert float(real(at)) == pytest.approx(float(fake(at)))
    assert float(real(above)) < float(fake(above))
    assert float(entry.critic(at, at)) == pytest.approx(entry.undecided)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_a_loss_that_needs_reals_has_them_scored_in_the_generators_phase(loss: str) -> None:
    game = Game.of(loss=loss)
    scored = {term.player: term.score for term in adversarial(game)}
    assert set(scored["D"]) == {game.real, game.fake}
    assert set(scored["G"]) == ({game.real, game.fake} if LOSSES[loss].needs_reals else {game.fake})


@pytest.mark.parametrize("loss", [name for name, entry in LOSSES.items() if not entry.needs_reals])
def test_a_loss_of_sides_is_their_sum_to_the_bit(loss: str) -> None:
    entry = LOSSES[loss]
    assert entry.sides is not None
    x, g = torch.randn(7), torch.randn(7)
    assert torch.equal(entry.critic(x, g), entry.sides.real(x).mean() + entry.sides.fake(g).mean())


def test_in_the_relativistic_game_only_differences_of_logits_count() -> None:
    game, x, g = LOSSES["relativistic"], torch.randn(5), torch.randn(5)
    torch.testing.assert_close(game.critic(x + 100, g + 100), game.critic(x, g))
    torch.testing.assert_close(game.generator(g + 100, x + 100), game.generator(g, x))
    assert float(game.critic(x, x)) == pytest.approx(game.undecided)


def test_a_margin_is_the_distance_from_the_boundary_or_from_the_fake() -> None:
    x, g = torch.tensor([0.2, 2.0]), torch.tensor([0.7, -1.0])
    assert LOSSES["least-squares"].margin(x, g).tolist() == pytest.approx([-0.3, 1.5])  # type: ignore[union-attr]
    assert LOSSES["relativistic"].margin(x, g).tolist() == pytest.approx([-0.5, 3.0])  # type: ignore[union-attr]
    assert LOSSES["wasserstein"].margin(x, g) is None


def test_a_real_is_compared_with_a_fake_of_its_own_class() -> None:
    relativistic, hinge = (
        Game.of(loss=loss, prior=Prior(3, label_pool=torch.arange(5))) for loss in ("relativistic", "hinge")
    )
    relabelled = Gen("G", Relabel(Latent(), Real()))
    for term in build_terms(relativistic, terms={"r2": {}}):
        assert relabelled in term.needs
    assert all(relabelled not in term.needs for term in build_terms(hinge, terms={}))
    assert all(relabelled not in term.needs for term in build_terms(Game.of(loss="relativistic"), terms={}))


def test_cutmix_which_judges_images_by_themselves_is_refused_with_a_loss_that_compares_them() -> None:
    with pytest.raises(
        UserError,
        match=r"terms\.cutmix scores each image separately.*non-saturating or hinge.*terms\.cutmix=null",
    ):
        build_terms(Game.of(loss="relativistic"), terms={"cutmix": {}})


def test_an_unknown_loss_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"objective\.loss.*'hinj'.*did you mean 'hinge'"):
        find_loss("hinj")
