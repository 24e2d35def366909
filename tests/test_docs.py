"""The docs agree with code and presets."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from steadygan import config
from steadygan.nets.registry import FAMILIES
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.declarations import Need
from steadygan.objective.registry import PLACEMENTS, TERMS

ROOT = Path(__file__).resolve().parents[1]
METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
PRESETS = config.preset_names()

# Words between backticks that look like a preset; * stands for anything.
NAME = re.compile(r"`([a-z]+[0-9]*-[a-z0-9*-]+|digits\*?)`")


def named_in_docs() -> dict[str, set[str]]:
    """The presets meant by each word in the docs that looks like a preset."""
    families = {name.partition("-")[0] for name in PRESETS}
    words = {word for page in (ROOT / "docs").glob("*.md") for word in NAME.findall(page.read_text(encoding="utf-8"))}
    return {
        word: {name for name in PRESETS if re.fullmatch(word.replace("*", ".*"), name)}
        for word in words
        if word.partition("-")[0] in families
    }


def test_every_preset_named_in_the_docs_exists_and_every_preset_is_named() -> None:
    named = named_in_docs()
    assert [word for word, presets in named.items() if not presets] == []
    assert set(PRESETS) - set().union(*named.values()) == set()


def test_every_method_has_its_section() -> None:
    """Named as a configuration names it."""
    for word in (*TERMS, *LOSSES, *FAMILIES, *PLACEMENTS):
        if word not in ("both", "discriminator-only"):
            assert f"`{word}`" in METHODS or f"={word}`" in METHODS, word


def test_the_lines_of_code_are_in_the_code() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/steadygan/objective").glob("*.py"))
    lines = {line.strip() for line in source.splitlines()}
    quoted = [line for block in re.findall(r"```python\n(.*?)```", METHODS, re.DOTALL) for line in block.splitlines()]
    assert len(quoted) >= len(TERMS)
    assert [line for line in quoted if line not in lines] == []


def test_every_source_file_that_the_methods_name_exists() -> None:
    named = set(re.findall(r"`((?:objective|nets|generators|transforms|training)/\w+\.py)`", METHODS))
    assert len(named) > 10
    assert {path for path in named if not (ROOT / "src/steadygan" / path).is_file()} == set()


def test_every_need_that_a_builder_may_declare_is_in_the_page_on_extending() -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert [need for need in get_args(Need) if f"`{need}`" not in page] == []


def test_the_bcr_of_how_it_works_is_the_code_without_its_docstring() -> None:
    (quoted,) = re.findall(
        r"```python\n(@needs.*?)```", (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert quoted == re.sub(r'    """.*?"""\n', "", inspect.getsource(TERMS["bcr"]), count=1, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("term", "titles"),
    [
        ("cr", ["CR"]),
        ("bcr", ["bCR", "ICR"]),
        ("zcr", ["zCR", "ICR"]),
        ("gp", ["WGAN-GP"]),
        ("dragan", ["DRAGAN"]),
        ("jsreg", ["JS-Reg"]),
        ("r1", ["R1"]),
        ("logan", ["LOGAN"]),
        ("unet", ["U-Net GAN and CutMix"]),
        ("cutmix", ["U-Net GAN and CutMix"]),
        ("lecam", ["LeCam"]),
        ("ortho", ["Orthogonal regularisation"]),
    ],
)
def test_a_section_lists_the_presets_that_have_its_term(term: str, titles: list[str]) -> None:
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", METHODS, re.DOTALL | re.MULTILINE))
    words = [word for title in titles for word in NAME.findall(sections[title].rpartition("Presets:")[2])]
    listed = {name for word in words for name in PRESETS if re.fullmatch(word.replace("*", ".*"), name)}
    assert listed == {name for name in PRESETS if term in config.load(name).objective.terms}
