"""Commands, code, links and quoted messages in README and docs: each is checked against the code."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import pytest
import typer
import yaml

from steadygan import config
from steadygan.cli import app
from steadygan.cli.data import data_app
from steadygan.config import Config
from steadygan.errors import UserError
from steadygan.overrides import parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"reference/settings.md", "reference/commands.md", "reference/presets.md"}
ELSEWHERE = (
    "pip install ",
    "cd ",
    "git clone ",
    "uv run pytest",
    "ssh ",
    "uv run --all-extras steadygan",
    "python -m http.server ",
)


class Block(NamedTuple):
    """A block of code: the language of a fence, "" for an indented block."""

    page: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield Block(name, language, body)
        outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for body in re.findall(r"(?:^\n)((?:^    .*\n)+)", outside, re.MULTILINE):
            yield Block(name, "", body)
        for line in re.findall(r"`((?:steadygan|torchrun|python benchmarks/)[^`]*)`", outside.replace("\n", " ")):
            yield Block(name, "inline", line + "\n")


def commands() -> list[tuple[str, bool, list[str]]]:
    """(page, within a sentence, words) of every command in the docs, without prompts, comments and what runs it."""
    found = []
    for block in blocks():
        if block.language not in ("", "sh", "bash", "inline"):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                part = re.sub(r"\s#\s.*", "", part.strip())
                part = re.sub(r"\[[^=\]]*\|[^\]]*\]|\[--?[^\]]*\]", "", part)  # [--crop center|none]
                part = re.sub(r"^(uv run |PYTHONPATH=\S+ |\w+=\S+ )*(torchrun .* -m )?(?=steadygan)", "", part)
                if re.match(r"(steadygan|python|pip|uv|git|torchrun|cd|ssh)( |$)", part):
                    found.append((block.page, block.language == "inline", shlex.split(part)))
    return found


COMMANDS = commands()
STEADYGAN = [(page, inline, words[1:]) for page, inline, words in COMMANDS if words[0] == "steadygan"]


def named(words: list[str]) -> tuple[str, Any, list[str]]:
    """The command that words call, with its arguments."""
    command, name = typer.main.get_command(app), "steadygan"
    while words and words[0] in getattr(command, "commands", {}):
        command, name, words = command.commands[words[0]], f"{name} {words[0]}", words[1:]
    return name, command, words


def test_the_docs_have_commands() -> None:
    assert len(STEADYGAN) > 80
    assert {words[0] for _, _, words in STEADYGAN if words} >= {"train", "sample", "evaluate", "import", "studio"}


@pytest.mark.parametrize(
    ("page", "inline", "words"), STEADYGAN, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_steadygan_command_parses(page: str, inline: bool, words: list[str]) -> None:
    name, command, rest = named(words)
    if not words or any(word in ("…", "COMMAND", "--help") for word in words) or words in (["settings", "[WORD]"],):
        return
    assert name != "steadygan", f"{page}: no command {words[0]!r}"
    try:
        context = command.make_context(name, ["1" if word == "N" else word for word in rest])
    except Exception as error:  # click's own, which typer may carry with it
        if inline and type(error).__name__ in ("MissingParameter", "BadOptionUsage"):
            return  # a sentence may name a command and an option alone
        raise
    if "overrides" in context.params:
        for override in context.params["overrides"] or ():
            key, _, value = override.partition("=")
            if key.isupper() or key in ("key", "key.path") or value in ("N", "PATH", "NAME", "…"):
                continue
            parse(Config, override)
    source = context.params.get("source")
    if name == "steadygan train" and isinstance(source, str):
        known = source in config.preset_names()
        assert known or re.search(r"[/.:…A-Z]|^…$", source), f"{page}: {source!r} is no preset"


def every_command(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


def test_every_command_and_option_has_a_help_text() -> None:
    known = list(every_command(typer.main.get_command(app), "steadygan"))
    assert len(known) > 20
    assert [name for name, command in known if not command.help] == []
    without = [
        f"{name} {param.name}"
        for name, command in known
        for param in command.params
        if param.name != "help" and not getattr(param, "help", None)
    ]
    assert without == []


def test_a_number_on_the_command_line_has_a_range() -> None:
    """By its type, or in words where the command itself checks it."""
    numbers = []
    for known in (*app.registered_commands, *data_app.registered_commands):
        assert known.callback is not None
        for name, hint in get_type_hints(known.callback, include_extras=True).items():
            kind, option = get_args(hint) if get_origin(hint) is Annotated else (hint, None)
            if {int, float} & {kind, *get_args(kind)} and known.callback.__name__ != "branch":
                numbers.append(name)
                said = re.search(r"or more|above 0|a multiple of|below --", option.help)
                assert said or option.min is not None, f"{known.callback.__name__} {name}"
    assert len(numbers) > 20


def test_other_commands_are_known() -> None:
    unknown = []
    for page, _, words in COMMANDS:
        text = " ".join(words)
        if words[0] == "steadygan" or text.startswith(ELSEWHERE) or text == "uv run steadygan train digits":
            continue
        if words[0] == "python" and (ROOT / words[1]).is_file():
            continue
        if "-m steadygan" in text or words in (["torchrun"], ["torchrun", "--max-restarts", "3"]):
            continue
        unknown.append(f"{page}: {text}")
    assert unknown == []


def test_python_in_the_docs_compiles_and_names_what_exists() -> None:
    for block in blocks():
        if block.language != "python" or block.page == "docs/methods.md":  # its lines are checked against the source
            continue
        compile(block.text, block.page, "exec")
        for module, names in re.findall(r"^from (steadygan[\w.]*) import ([\w, ]+)", block.text, re.MULTILINE):
            for name in names.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), f"{block.page}: {module}.{name}"


def test_yaml_in_the_docs_is_a_configuration(tmp_path: Path) -> None:
    for number, block in enumerate(blocks()):
        if block.language != "yaml":
            continue
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.text)
        assert config.load(file).name == str(number), yaml.safe_load(block.text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower())
        found.add(re.sub(r"[ ]+", "-", plain.strip()))
    return found


def test_links_lead_to_files_and_headings_that_exist() -> None:
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if str(file.relative_to(ROOT / "docs") if file.is_relative_to(ROOT / "docs") else "") in GENERATED:
                continue
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_every_page_is_linked_from_another() -> None:
    docs = ROOT / "docs"
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", page.read_text(encoding="utf-8"))
    }
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in docs.rglob("*.md"):
        name = str(page.relative_to(docs))
        assert name in nav, f"{name} is not in mkdocs.yml"
        assert page.resolve() in linked or name in ("index.md", "style.md"), f"no page links to {name}"


def test_quoted_messages_are_in_the_source() -> None:
    source = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    section = (
        (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition("| message |")[2].partition("##")[0]
    )
    quoted = re.findall(r'^\| "([^"]+)" \|', section, re.MULTILINE)
    assert len(quoted) >= 5
    assert [text for text in quoted if text not in source] == []


def test_a_wrong_override_would_be_found() -> None:
    with pytest.raises(UserError, match="unknown key"):
        parse(Config, "train.batchsize=3")
