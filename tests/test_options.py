"""Options of any function are checked by name and type against its signature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from steadygan.errors import UserError
from steadygan.options import find, resolve
from steadygan.schedules import Schedule, Weight


class Net:
    def __init__(
        self,
        *,
        size: int,
        normed: bool = True,
        attention: int | Sequence[int] = 0,
        init: Literal["orthogonal", "normal"] = "orthogonal",
    ) -> None: ...


def term(parts: object, *, power: int, weight: Weight = 2.0, extra=None) -> None: ...  # type: ignore[no-untyped-def]


SET_BY = {"size": "data.size"}


def test_defaults_are_filled_in_and_values_take_the_parameters_type() -> None:
    assert resolve(Net, {}, where="net", set_by=SET_BY) == {"normed": True, "attention": 0, "init": "orthogonal"}
    given = {"normed": "false", "attention": [8, 16]}
    assert resolve(Net, given, where="net", set_by=SET_BY) == {"normed": False, "attention": [8, 16]} | {
        "init": "orthogonal"
    }
    half = {"shape": "cosine", "start": 1, "end": 0, "steps": 9}
    found = resolve(term, {"power": "3", "weight": half, "extra": "x"}, where="term")
    assert found == {"power": 3, "weight": Schedule.model_validate(half), "extra": "x"}


def test_what_a_partial_binds_is_its_default_and_still_typed() -> None:
    bound = partial(Net, normed=False)
    assert resolve(bound, {}, where="net", set_by=SET_BY)["normed"] is False
    with pytest.raises(UserError, match=r"^net\.normed: .*true or false.*got 'never'$"):
        resolve(bound, {"normed": "never"}, where="net", set_by=SET_BY)


class Deeper(Net):
    def __init__(self, *, depth: int = 1, **options: Any) -> None:
        super().__init__(**options)


def test_a_constructor_that_passes_options_on_has_those_of_its_base() -> None:
    whole = {"normed": True, "attention": 0, "init": "orthogonal", "depth": 1}
    assert resolve(Deeper, {}, where="net", set_by=SET_BY) == whole
    bound = partial(Deeper, normed=False)
    assert resolve(bound, {"depth": "2"}, where="net", set_by=SET_BY) == whole | {"normed": False, "depth": 2}
    with pytest.raises(UserError, match=r"^net\.init: .*'orthogonal' or 'normal', got 'uniform'$"):
        resolve(Deeper, {"init": "uniform"}, where="net", set_by=SET_BY)
    with pytest.raises(UserError, match=r"^net\.dpeth: unknown option; did you mean 'depth'\?$"):
        resolve(Deeper, {"dpeth": 2}, where="net", set_by=SET_BY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nromed": True}, r"^net\.nromed: unknown option; did you mean 'normed'\?$"),
        ({"normed": "maybe"}, r"^net\.normed: .*true or false.*got 'maybe'$"),
        ({"attention": "wide"}, r"^net\.attention: .*got 'wide'$"),
        ({"init": "uniform"}, r"^net\.init: .*'orthogonal' or 'normal', got 'uniform'$"),
        ({"size": 64}, r"^net\.size: not an option of its own; set data\.size$"),
    ],
)
def test_a_mistake_is_named_by_its_key(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(Net, given, where="net", set_by=SET_BY)


def test_what_has_no_default_must_be_given() -> None:
    with pytest.raises(UserError, match=r"^net: needs size$"):
        resolve(Net, {}, where="net")
    with pytest.raises(UserError, match=r"^term\.power: .*whole number"):
        resolve(term, {"power": 1.5}, where="term")


def test_no_options_are_said_to_be_none() -> None:
    with pytest.raises(UserError, match=r"^it\.power: unknown option; there are none$"):
        resolve(lambda: None, {"power": 1}, where="it")


def test_a_name_is_an_entry_or_an_attribute_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "options_of_mine.py").write_text("NUMBER = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    look = partial(find, known={"hinge": 1}, where="objective.loss", noun="adversarial loss")
    assert look("hinge") == 1
    assert look("options_of_mine:NUMBER") == 7
    for name, message in {
        "hinj": r"objective\.loss: unknown adversarial loss 'hinj'; did you mean 'hinge'\? \(your own: module:NAME\)",
        "options_of_mine:NUMBR": r"objective\.loss: options_of_mine:NUMBR cannot be imported .*NUMBR",
        "no_such_module:X": r"objective\.loss: no_such_module:X cannot be imported .*is it on PYTHONPATH\?",
        "a b:c": r"objective\.loss: write your own adversarial loss as module:NAME, got 'a b:c'",
    }.items():
        with pytest.raises(UserError, match=message):
            look(name)
