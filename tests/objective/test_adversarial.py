"""Each adversarial loss against its formula, on given logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.adversarial import LOSSES, adversarial
from steadygan.objective.bundle import Bundle
from steadygan.objective.terms import Parts

pytestmark = pytest.mark.usefixtures("float64")

REAL, FAKE = np.array([-3.0, -0.5, 0.0, 0.25, 1.0, 4.0]), np.array([-5.0, -1.0, -0.2, 0.0, 0.7, 2.0])


class Readout(nn.Module):
    """A critic of 1×1 images, whose only pixel is the logit."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(x.flatten(1).squeeze(1))


def sigmoid(d: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-d))


def losses(loss: str, real: np.ndarray, fake: np.ndarray) -> dict[str, Tensor]:
    parts = Parts.of()
    given = {
        parts.real: (torch.from_numpy(real)[:, None, None, None], None),
        parts.fake: (torch.from_numpy(fake)[:, None, None, None], None),
    }
    b = Bundle({"D": Readout()}, Prior(1), torch.Generator(), size=len(real), given=given)
    terms = adversarial(parts, loss=loss)
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
def test_at_its_boundary_a_logit_costs_a_real_as_much_as_a_fake(loss: str) -> None:
    real, fake, _, boundary = LOSSES[loss]
    if boundary is None:
        assert loss == "wasserstein"
        return
    at, above = torch.tensor(boundary), torch.tensor(boundary + 0.1)
    assert float(real(at)) == pytest.approx(float(fake(at)))
    assert float(real(above)) < float(fake(above))


def test_an_unknown_loss_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"objective\.loss.*'hinj'.*did you mean 'hinge'"):
        adversarial(Parts.of(), loss="hinj")
