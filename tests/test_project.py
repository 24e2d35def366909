"""Project files: citation, issue forms, constraints, package metadata."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import steadygan

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["version"] == steadygan.__version__
    assert citation["license"] == PROJECT["license"]


def test_issue_forms_are_complete() -> None:
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) >= 2
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path.name
        ids = [part["id"] for part in form["body"]]
        assert len(set(ids)) == len(ids) > 0, path.name
        for part in form["body"]:
            assert part["type"] in ("textarea", "input", "dropdown", "checkboxes"), path.name
            assert part["attributes"]["label"], path.name


def test_the_package_is_typed_and_says_so() -> None:
    assert (ROOT / "src/steadygan/py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_no_address_is_invented() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff", "pyproject.toml", "mkdocs.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://\S*steadygan", text), name


def test_constraints_pin_every_dependency_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[a-z0-9.\-]+", name) and re.fullmatch(r"[\w.]+", pin) for name, pin in pins.items())
    for needed in PROJECT["dependencies"]:
        name, least = needed.split(">=")
        assert name in pins
        assert tuple(map(int, pins[name].split(".")[:2])) >= tuple(map(int, least.split(".")[:2]))
