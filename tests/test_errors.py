"""Messages for people: commands that can be copied, and names that are known."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import typer

from steadygan.cli import FIRST_STEPS, app
from steadygan.errors import command_line, nearest, no_run

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "steadygan"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/steadygan", "train"])


def test_a_command_is_quoted_for_the_shell() -> None:
    assert command_line("train", "my run", "data.path=cats #2") == "steadygan train 'my run' 'data.path=cats #2'"


def test_a_command_is_written_as_the_program_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/lib/steadygan/__main__.py"])
    monkeypatch.setattr(sys, "executable", "/opt/some where/python")
    assert command_line("doctor") == "'/opt/some where/python' -m steadygan doctor"

    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert command_line("doctor") == "uv run steadygan doctor"


def test_of_many_known_names_a_message_gives_some() -> None:
    many = [f"name{number:03}" for number in range(140)]
    assert nearest("qqqqqq", many).endswith(", … (140 in all)")
    assert len(nearest("qqqqqq", many)) < 300
    assert nearest("name007x", many) == "did you mean 'name007'?"
    assert nearest("q", ["b", "a"]) == "known: a, b"


def written(source: str) -> list[str]:
    """The text of a module that can reach a user: its string constants, those of f-strings, no docstrings."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
    return [node.value for node in constants if isinstance(node.value, str)]


def test_no_message_prints_a_command_that_may_not_work_here() -> None:
    """Commands come from `command_line` and the studio's `about.program`; "… · steadygan studio" is a title."""
    commands = "|".join(typer.main.get_command(app).list_commands(None))
    bare = re.compile(rf"(?<!· )\bsteadygan ({commands}|\$\{{)\b")
    texts = {path: written(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    texts |= {path: [path.read_text(encoding="utf-8")] for path in (PACKAGE / "studio/static").rglob("*.js")}
    found = [f"{path.name}: {text}" for path, some in texts.items() for text in some if bare.search(text)]
    assert len(found) == 1
    assert found[0].endswith(FIRST_STEPS)  # printed with `program()` in it


def test_a_folder_of_a_run_is_told_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/x/checkpoints/step-1").mkdir(parents=True)
    (tmp_path / "runs/x/config.yaml").write_text("name: x\n")
    for inside in ("runs/x/checkpoints", "runs/x/checkpoints/step-1"):
        assert no_run(inside).endswith(f"it has no config.yaml; it is part of the run {Path('runs/x')}, give that")
    assert no_run("runs").endswith(f"; give one of the runs in it, such as {Path('runs/x')}")
    assert no_run("x").endswith(f"; did you mean {Path('runs/x')}?")
    assert (
        no_run("y")
        == "y is not a run directory, as it has no config.yaml; give the directory of a run, such as runs/NAME"
    )
