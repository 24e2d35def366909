"""ADA and APA in a run: the controlling signal, D's inputs, the log, resuming."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.objective import Aug, Bundle, Deceived, Game, Gen, Latent, Real, Relabel, build_terms, deceived, watch
from steadygan.training.state import TrainState
from steadygan.transforms import Consistency, Controller

StateOf = Callable[..., TrainState]
REAL, FAKE = Real(), Gen("G", Latent(draw=2))


def shown(p: float, n: int = 2000) -> tuple[Tensor, Bundle, Deceived]:
    view = Deceived(REAL, FAKE, Controller(p=p))
    net = torch.nn.Linear(1, 4)
    paint = type("Paint", (torch.nn.Module,), {"forward": lambda self, z, y: net(z).view(-1, 1, 2, 2)})()
    labels = torch.arange(n) % 3
    given = {REAL: (torch.zeros(n, 1, 2, 2), labels)}
    b = Bundle({"G": paint}, Prior(1), torch.Generator().manual_seed(0), size=n, given=given)
    return b[view], b, view


def test_apa_shows_fakes_with_probability_p_as_constants_with_the_labels_of_the_reals() -> None:
    image, b, view = shown(0.3)
    fake = (image == b[FAKE]).flatten(1).all(1)
    assert torch.equal(fake, (image != 0).flatten(1).any(1))
    assert float(fake.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert not image.requires_grad
    assert b.labels(view) is b.labels(REAL)
    assert torch.equal(shown(0.0)[0], torch.zeros(2000, 1, 2, 2))


def test_what_is_shown_as_a_real_counts_as_one() -> None:
    view = Deceived(REAL, FAKE, Controller())
    assert view.origin() == "real"
    assert Aug(Consistency(), view).origin() == "real"
    assert FAKE.origin() == "fake"


def test_every_term_of_reals_sees_the_deception_and_its_fakes_have_latents_of_their_own() -> None:
    controller = Controller()
    game = deceived(Game.of(Consistency()), controller)
    assert game.critic_sees_real == Deceived(REAL, FAKE, controller)
    terms = build_terms(game, terms={"r1": {}, "gp": {}, "bcr": {}, "lecam": {}})
    assert all(REAL not in term.score + term.grads for term in terms)
    conditional = deceived(Game.of(prior=Prior(3, label_pool=torch.arange(5))), controller)
    assert conditional.critic_sees_real == Deceived(REAL, Gen("G", Relabel(Latent(draw=2), REAL)), controller)


def test_the_watched_margin_is_that_of_the_game_and_costs_no_pass() -> None:
    game = Game.of(loss="relativistic")
    terms = build_terms(game, terms={})
    p, r = watch(terms, game.loss, "ada", Controller())
    assert (p.name, r.name, p.weight, r.weight) == ("ada_p", "ada_r", 0, 0)
    assert p.score == terms[0].score


def test_a_loss_without_sides_cannot_steer_but_goes_with_a_fixed_probability() -> None:
    game = Game.of(loss="wasserstein")
    terms = build_terms(game, terms={})
    with pytest.raises(UserError, match=r"augment\.ada adapts .* objective\.loss; .*augment\.ada\.p"):
        watch(terms, game.loss, "ada", Controller())
    assert len(watch(terms, game.loss, "ada", Controller(p=0.2))) == 2
