"""From a configuration's terms to an objective: defaults, checks and custom terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from steadygan.errors import UserError
from steadygan.objective.batch import walk
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms, resolve_options
from steadygan.objective.terms import Term
from steadygan.objective.views import Gen, Latent, Nudge


@dataclass(frozen=True)
class Same:
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x


GAME = Game.of(Same())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module that can be imported and returns its name."""

    def write(source: str) -> str:
        name = f"module_of_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    return write


OWN = """
from steadygan.objective import Term

def spread(game, *, weight: float = 2.0, power: int, name: str = "spread"):
    return (
        Term(name, "G", lambda b: -b[game.fake].var() ** power, views=(game.fake,), weight=weight),
        Term(name, "D", lambda b: b.D(game.fake).logit.var(), score=(game.fake,), weight=weight),
    )

number = 3
"""


def names(terms: tuple[Term, ...]) -> list[str]:
    return [f"{term.player}/{term.name}" for term in terms]


def test_an_objective_is_the_adversarial_pair_and_its_terms_in_order() -> None:
    terms = build_terms(GAME, terms={"zcr": None, "bcr": {}, "r1": {"every": 16}, "gp": {}})
    assert names(terms) == [
        "D/adversarial",
        "G/adversarial",
        "D/zcr_dis",
        "G/zcr_gen",
        "D/bcr_real",
        "D/bcr_fake",
        "D/r1",
        "D/gp",
    ]
    assert {term.name: term.every for term in terms}["r1"] == 16


def test_every_option_is_filled_in() -> None:
    given = {"zcr": {"dis": 20}, "r1": {}, "cr": None}
    assert resolve_options(given) == {
        "zcr": {"dis": 20.0, "gen": 0.5, "sigma": 0.03},
        "r1": {"gamma": 10.0, "every": 1, "through": False},
        "cr": {"weight": 10.0, "target": "augmented"},
    }
    assert resolve_options(resolve_options(given)) == resolve_options(given)


def test_options_reach_the_terms() -> None:
    terms = build_terms(GAME, terms={"bcr": {"real": 3, "fake": 4}, "r1": {"gamma": 5, "every": 2}})
    assert {term.name: (term.weight, term.every) for term in terms if term.name != "adversarial"} == {
        "bcr_real": (3, 1),
        "bcr_fake": (4, 1),
        "r1": (5, 2),
    }


def test_a_term_of_weight_zero_is_left_out() -> None:
    terms = build_terms(GAME, terms={"zcr": {"gen": 0}, "bcr": {"fake": 0.0}, "gp": {"weight": 0}})
    assert names(terms) == ["D/adversarial", "G/adversarial", "D/zcr_dis", "D/bcr_real"]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"os:getcwd": {}}, r"objective\.terms\.os:getcwd is not a function of a game, which it is called with"),
        ({"zrc": {}}, r"objective\.terms\.zrc: unknown term 'zrc'; did you mean 'zcr'\?.*module:NAME"),
        (
            {"spectral": {}},
            r"objective\.terms\.spectral: unknown term 'spectral'; known: bcr, cr, cutmix, cycle, ",
        ),
        ({"zcr": {"sigm": 1}}, r"objective\.terms\.zcr\.sigm: unknown option; did you mean 'sigma'\?"),
        ({"zcr": {"game": 1}}, r"objective\.terms\.zcr\.game: unknown option"),
        ({"zcr": {"sigma": "big"}}, r"objective\.terms\.zcr\.sigma: .*number.*got 'big'"),
        ({"r1": {"every": 1.5}}, r"objective\.terms\.r1\.every: must be a whole number, got 1\.5"),
        ({"gp": {"one_sided": 7}}, r"objective\.terms\.gp\.one_sided: must be true or false, got 7"),
        ({"cr": {"weight": None}}, r"objective\.terms\.cr\.weight: .*number.*got None"),
        ({"cr": {}, "bcr": {}}, r"objective\.terms: bcr contains cr"),
    ],
)
def test_a_mistake_is_named_by_its_key(terms: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_options(terms)
    with pytest.raises(UserError, match=message):
        build_terms(GAME, terms=terms)


def test_a_schedule_that_never_comes_round_is_refused() -> None:
    with pytest.raises(UserError, match="every of r1 must be at least 1, got 0"):
        build_terms(GAME, terms={"r1": {"every": 0}})


@pytest.mark.parametrize("name", ["cr", "bcr"])
def test_consistency_without_an_augmentation_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"objective\.terms\.{name} .*augment\.consistency is off; set"):
        build_terms(Game.of(loss="hinge"), terms={name: {}})


def test_a_term_of_ones_own_is_named_by_module_and_function(module: Callable[[str], str]) -> None:
    key = f"{module(OWN)}:spread"
    assert resolve_options({key: {"power": "3"}}) == {key: {"weight": 2.0, "power": 3, "name": "spread"}}
    terms = build_terms(GAME, terms={key: {"power": 2, "weight": 4}, "r1": {}})
    assert names(terms) == ["D/adversarial", "G/adversarial", "G/spread", "D/spread", "D/r1"]
    assert terms[2].weight == 4


def test_a_term_of_ones_own_is_checked_like_any_other(module: Callable[[str], str]) -> None:
    name = module(OWN)
    with pytest.raises(UserError, match=rf"{name}:spread: needs power"):
        resolve_options({f"{name}:spread": {}})
    with pytest.raises(UserError, match=rf"{name}:spread\.powr: unknown option; did you mean 'power'"):
        resolve_options({f"{name}:spread": {"powr": 2}})
    with pytest.raises(UserError, match=rf"objective\.terms\.{name}:spred: .*cannot be imported .*PYTHONPATH"):
        resolve_options({f"{name}:spred": {}})
    with pytest.raises(UserError, match=rf"{name}:number is not a function"):
        resolve_options({f"{name}:number": {}})
    with pytest.raises(UserError, match=r"no_such_module:spread cannot be imported"):
        resolve_options({"no_such_module:spread": {}})


def test_two_terms_of_one_name_for_one_player_are_refused(module: Callable[[str], str]) -> None:
    key = f"{module(OWN)}:spread"
    with pytest.raises(UserError, match=r"two terms are called G/zcr_gen; rename"):
        build_terms(GAME, terms={key: {"power": 1, "name": "zcr_gen"}, "zcr": {}})


@pytest.mark.parametrize("name", [":f", ".mod:f", "mod:", "mod:f:g", "a..b:f", "mod:f-g", "mod.:f"])
def test_a_malformed_name_of_a_term_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"write your own term as module:NAME"):
        resolve_options({name: {}})


REWRITING = """
from dataclasses import replace
from steadygan.objective import Gen, Nudge, Term, rewrites

def shaken(game, *, sigma):
    return replace(game, fake=Gen(game.fake.net, Nudge(game.fake.source, sigma)))

@rewrites(shaken)
def shake(game, *, sigma: float = 0.5):
    return (Term("shake", "G", lambda b: b[game.fake].mean(), views=(game.fake,)),)
"""


def test_a_term_can_change_the_fakes_of_all_others_whatever_their_order(module: Callable[[str], str]) -> None:
    key = f"{module(REWRITING)}:shake"
    terms = build_terms(GAME, terms={"bcr": {}, key: {"sigma": 0.25}})
    shaken = Gen("G", Nudge(Latent(), 0.25))
    for term in terms:
        fakes = {view for view in walk(term.needs) if isinstance(view, Gen)}
        assert fakes == (set() if term.name == "bcr_real" else {shaken})


def test_two_terms_that_change_the_fakes_are_refused(module: Callable[[str], str]) -> None:
    key = f"{module(REWRITING)}:shake"
    with pytest.raises(UserError, match=r"logan and .*:shake both change the latent of the fakes; keep one"):
        build_terms(GAME, terms={"logan": {}, key: {}})


def test_a_schedule_multiplies_weight_and_laziness() -> None:
    term = Term("mine", "D", lambda b: b, weight=3.0, every=2, schedule=lambda step: step / 10)
    assert [term.strength(step) for step in (0, 5, 20)] == [0, 3, 12]
    assert Term("mine", "D", lambda b: b, weight=3.0, every=2).strength(7) == 6
