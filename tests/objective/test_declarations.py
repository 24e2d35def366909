"""Declarations of builders, ours and third parties', are checked in one place; the error names the key to change."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from steadygan.errors import UserError
from steadygan.generators.prior import Prior
from steadygan.nets.layers import Score
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.declarations import Need, check_needs, check_together, excludes, needs
from steadygan.objective.game import Game, TranslationGame
from steadygan.objective.registry import TERMS, build_terms
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Real
from steadygan.transforms.consistency import Consistency


class Plain(nn.Module):
    """Either player: neither mapped latents nor pixels."""

    channels, size = 1, 4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Score:
        return Score(self.scale * x.flatten(1).mean(1))


TRANSLATION = TranslationGame(Real("b"), Gen("G_ab", Real("a")), critic="D_b")
LACKING: dict[Need, tuple[Game, str]] = {
    "augmentation": (Game.of(), r"augment\.consistency\.flip"),
    "diffaugment": (Game.of(), r"augment\.diffaugment\.policy"),
    "latent": (TRANSLATION, r"objective\.terms\.mine=null"),
    "uniform_prior": (Game.of(prior=Prior(3, "normal")), r"model\.prior=uniform"),
    "mapping": (Game.of(nets={"G": Plain()}), r"model\.kind=stylegan2"),
    "image_logit": (TRANSLATION, r"objective\.terms\.mine=null"),
    "pixels": (Game.of(nets={"D": Plain()}), r"model\.kind=unet"),
    "second_scale": (Game.of(nets={"D": Plain()}), r"model\.kind=fastgan"),
    "labels": (Game.of(prior=Prior(3)), r"model\.conditional=true"),
    "separate_sides": (Game.of(loss="relativistic"), r"objective\.loss.*objective\.terms\.mine=null"),
    "translation": (Game.of(), r"data\.domains"),
    "inverse": (TRANSLATION, r"model\.directions=\[a2b, b2a\]"),
    "pairs": (replace(TRANSLATION, aligned=False), r"data\.domains=paired"),
}
HAVING: dict[Need, Game] = {
    "augmentation": Game.of(Consistency()),
    "diffaugment": Game.of(pre_d=Consistency()),
    "latent": Game.of(),
    "uniform_prior": Game.of(prior=Prior(3, "uniform")),
    "mapping": Game.of(),
    "image_logit": Game.of(),
    "pixels": Game.of(),
    "second_scale": Game.of(),
    "labels": Game.of(prior=Prior(3, label_pool=torch.arange(2))),
    "separate_sides": Game.of(loss="wasserstein"),
    "translation": TRANSLATION,
    "inverse": replace(TRANSLATION, inverse="G_ba"),
    "pairs": TRANSLATION,
}


def test_every_need_has_a_game_with_and_one_without() -> None:
    assert set(get_args(Need)) == HAVING.keys() == LACKING.keys()


@pytest.mark.parametrize("need", HAVING)
def test_a_need_that_is_not_met_is_refused_with_the_key_to_change(need: Need) -> None:
    builder = needs(need)(lambda game: ())
    check_needs("mine", builder, {}, HAVING[need])
    game, key = LACKING[need]
    with pytest.raises(UserError, match=rf"^objective\.terms\.mine .*{key}"):
        check_needs("mine", builder, {}, game)


@pytest.mark.parametrize("name", ["inverse", "pairs"])
def test_what_only_translations_have_is_refused_elsewhere_with_that_reason(name: Need) -> None:
    with pytest.raises(UserError, match=r"works only on translations between two domains"):
        check_needs("mine", needs(name)(lambda game: ()), {}, Game.of())


def test_asking_the_critic_for_pixels_leaves_its_mode_as_it_was() -> None:
    critic = Plain().train()
    with pytest.raises(UserError, match="scores pixels"):
        check_needs("mine", needs("pixels")(lambda game: ()), {}, Game.of(nets={"D": critic}))
    assert critic.training


def test_a_need_of_one_value_of_an_option_is_checked_for_that_value_alone() -> None:
    builder = needs("latent", target={"bare": "diffaugment"})(lambda game, *, target="augmented": ())
    check_needs("mine", builder, {"target": "augmented"}, Game.of())
    with pytest.raises(UserError, match=r"^objective\.terms\.mine \(target=bare\) .*policy"):
        check_needs("mine", builder, {"target": "bare"}, Game.of())


def test_a_need_that_does_not_exist_is_the_builders_mistake() -> None:
    with pytest.raises(ValueError, match=r"needs: latnt: not one of augmentation"):
        needs("latnt")  # type: ignore[arg-type]


def test_terms_exclude_each_other_whichever_of_them_says_so() -> None:
    mine = excludes(r1="mine has R1 in it; set r1 aside")(lambda game: ())
    check_together({"mine": mine, "r2": TERMS["r2"]})
    for order in (("mine", "r1"), ("r1", "mine")):
        with pytest.raises(UserError, match=r"mine has R1 in it; .*objective\.terms\.r1=null"):
            check_together({name: {"mine": mine, "r1": TERMS["r1"]}[name] for name in order})


def test_declarations_add_up_on_one_builder() -> None:
    @needs("latent")
    @excludes(r1="no")
    def mine(game: Game) -> tuple[Term, ...]:
        return ()

    with pytest.raises(UserError, match="translation does not have"):
        check_needs("mine", mine, {}, TRANSLATION)
    with pytest.raises(UserError, match="no; remove one"):
        check_together({"mine": mine, "r1": TERMS["r1"]})


def test_an_objective_in_which_a_player_has_nothing_to_minimise_is_refused() -> None:
    silent = replace(Game.of(loss=LOSSES["hinge"]), g_weight=0.0)
    with pytest.raises(UserError, match="every term of G has weight 0"):
        build_terms(silent, terms={})
    assert {term.player for term in build_terms(silent, terms={"zcr": {}})} == {"D", "G"}
