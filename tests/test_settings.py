"""The reference of settings: complete, and in agreement with the code."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from typing import Any

import pytest
from helpers import Run

import steadygan as package
from steadygan import config
from steadygan.config import Config
from steadygan.nets.registry import FAMILIES
from steadygan.objective.registry import TERMS
from steadygan.options import parameters
from steadygan.overrides import parse
from steadygan.settings import Setting, documented, every_setting, keys, matching

SETTINGS = every_setting()
KEYS = [setting for setting in keys() if "." in setting.key or setting.key == "name"]


def test_every_setting_is_described_and_named_once_in_its_group() -> None:
    assert [setting.key for setting in SETTINGS if not setting.about] == []
    assert [key for key, count in Counter((s.group, s.key) for s in SETTINGS).items() if count > 1] == []


def leaves(tree: dict[str, Any], path: str = "") -> set[str]:
    """The keys of nested mappings, joined by dots; free tables count as one."""
    found = set()
    for name, value in tree.items():
        free = f"{path}{name}" in (
            "model.generator",
            "model.critic",
            "objective.terms",
            "augment.ada.ops",
            "augment.transforms",
        )
        found |= leaves(value, f"{path}{name}.") if isinstance(value, dict) and not free else {f"{path}{name}"}
    return found


def test_every_key_of_a_configuration_is_listed() -> None:
    everything = config.validate({"augment": {"ada": {}, "apa": {}}})
    assert {setting.key for setting in KEYS} == leaves(everything.model_dump()) | {"augment.ada", "augment.apa"}


@pytest.mark.parametrize("setting", KEYS, ids=lambda setting: setting.key)
def test_a_default_written_as_listed_is_the_default(setting: Setting) -> None:
    keys, value = parse(Config, f"{setting.key}={setting.default.strip(chr(34))}")
    tree: dict[str, Any] = {}
    inner = tree
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    beside = {"augment": {keys[1]: {}}} if keys[:2] in (["augment", "ada"], ["augment", "apa"]) and keys[2:] else {}
    assert config.validate(tree) == config.validate(beside)


@pytest.mark.parametrize("name", TERMS)
def test_a_terms_docstring_lists_its_options_and_no_others(name: str) -> None:
    assert list(documented(TERMS[name])) == list(parameters(TERMS[name]))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_networks_docstring_lists_its_options_and_no_others(name: str) -> None:
    for build in FAMILIES[name]:
        assert list(documented(build)) == list(parameters(build))


def test_a_word_is_looked_for_in_keys_and_descriptions() -> None:
    assert [setting.key for setting in matching(SETTINGS, "LeCam")][-4:] == [
        f"objective.terms.lecam.{option}" for option in parameters(TERMS["lecam"])
    ]
    assert "train.freeze_critic" in {setting.key for setting in matching(SETTINGS, "freezed")}


def test_types_and_ranges_are_in_words() -> None:
    kinds = {setting.key: setting.kind for setting in SETTINGS}
    assert kinds["data.heldout"] == "float in [0, 1)"
    assert kinds["train.steps"] == "int > 0"
    assert kinds["data.channels"] == "1 or 3 or null"
    assert kinds["optim.g.lr"] == "number or schedule"
    assert kinds["train.phases"] == "list of D or G"
    assert kinds["objective.terms.gp.one_sided"] == "true or false"


def test_the_command_prints_what_matches(steadygan: Run) -> None:
    result = steadygan("settings", "over all processes")
    assert (result.status, result.err) == (0, "")
    assert re.search(
        r"  train\.batch_size   .+, default 64\n      images of a batch, over all processes.*\n", result.out
    )
    assert result.out.endswith("\n1 setting\n")


def test_an_unknown_word_names_the_nearest_and_the_whole_list(steadygan: Run) -> None:
    result = steadygan("settings", "batchsize")
    assert result.status == 2
    assert "did you mean 'batch_size'? `steadygan settings` lists all" in result.err


def test_without_a_command_six_lines_say_what_to_do_next(steadygan: Run) -> None:
    result = steadygan()
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("steadygan ") for line in lines)


def test_the_help_of_train_names_five_settings_that_exist_and_where_all_are(steadygan: Run) -> None:
    text = steadygan("train", "--help").out
    named = re.findall(r"^ +([a-z_]+(?:\.[a-z_]+)+)=", text, re.MULTILINE)
    assert len(named) == 5
    assert set(named) <= {setting.key for setting in KEYS}
    assert "settings [WORD]" in text


@pytest.mark.parametrize("name", sorted(set(package.__all__) - {"__version__", "UserError"}))
def test_the_public_functions_document_every_argument(name: str) -> None:
    thing = getattr(package, name)
    methods = [value for key, value in vars(thing).items() if inspect.isfunction(value) and not key.startswith("_")]
    for function in methods if inspect.isclass(thing) else [thing]:
        given = [key for key in inspect.signature(function).parameters if key != "self"]
        if len(given) > 1:
            assert list(documented(function)) == given, f"{name}: {function.__name__}"
