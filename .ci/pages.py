"""Hooks of mkdocs: pages generated from the code, and links that leave the docs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from steadygan import config as configuration
from steadygan.cli import app
from steadygan.settings import every_setting


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for name, make in (("settings", settings), ("commands", commands), ("presets", presets)):
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files of the repository that are no part of the site into their names."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", markdown.replace("[`", "[").replace("`](../", "](../"))


def settings() -> str:
    """Every setting as tables."""
    lines = ["# Settings", ""]
    lines += [
        "Generated from the code, as `steadygan settings` prints it. A setting is written `key=value` behind",
        "`steadygan train SOURCE`, or in a YAML file as nested keys. *D* is the discriminator, *G* the generator.",
    ]
    known = every_setting()
    for group in dict.fromkeys(setting.group for setting in known):
        lines += [
            "",
            f"## {group[0].upper()}{group[1:]}",
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        for setting in known:
            if setting.group == group:
                default = f"`{setting.default}`" if setting.default else ""
                lines.append(
                    "| " + " | ".join(map(cell, (f"`{setting.key}`", setting.kind, default, setting.about))) + " |"
                )
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text that ends no cell of a table."""
    return text.replace("|", r"\|")


def commands() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", "Generated from the code, as `steadygan COMMAND --help` prints it."]
    for name, command in every_command(typer.main.get_command(app), "steadygan"):
        text = re.sub(r"\n\s*\x08\n(.*?)(?=\n\n|\Z)", as_block, command.help or "", flags=re.DOTALL)
        lines += ["", f"## {name}", "", text.strip(), "", "| argument or option | meaning | default |", "|---|---|---|"]
        for param in command.params:
            if getattr(param, "hidden", False) or param.name == "help":
                continue
            shown = ", ".join(param.opts) if param.param_type_name == "option" else str(param.name).upper()
            default = "required" if param.required else default_of(param)
            about = (getattr(param, "help", None) or "").partition("  [default:")[0]
            lines.append(f"| `{shown}` | {cell(about)} | {cell(default)} |")
    return "\n".join(lines) + "\n"


def as_block(found: re.Match[str]) -> str:
    """A paragraph that click keeps as it is, as a block of code."""
    return "\n\n```text\n" + found[1] + "\n```"


def every_command(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each command that does something, with its name in full."""
    for word, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, f"{name} {word}")
    if not hasattr(command, "commands"):
        yield name, command


def default_of(param: Any) -> str:
    """A parameter's default as its help shows it."""
    if written := re.search(r"  \[default: (.*)\]", getattr(param, "help", None) or ""):
        return written[1]
    shown = getattr(param, "show_default", None)
    if isinstance(shown, str):
        return shown
    return "" if param.default is None or param.default is False or param.default == () else f"`{param.default}`"


def presets() -> str:
    """Every preset with the row that it reproduces."""
    lines = ["# Presets", "", "Generated from the code, as `steadygan presets` prints it.", ""]
    known = {name: configuration.load(name).about for name in configuration.preset_names()}
    for paper in dict.fromkeys(about.paper for about in known.values()):
        lines += [f"## {paper}", "", "| preset | published score | table and row |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {cell(about.score)} | {cell(about.table)} |"
            for name, about in known.items()
            if about.paper == paper
        ]
        lines.append("")
    return "\n".join(lines)
