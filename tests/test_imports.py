"""Rules for imports between packages and for the update step, checked in the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import steadygan
from steadygan.objective.adversarial import LOSSES
from steadygan.objective.registry import TERMS

ROOT = Path(steadygan.__file__).parent

ORDER = [
    "errors",
    "_version",
    "progress",
    "files",
    "names",
    "options",
    "spelling",
    "overrides",
    "schedules",
    "sources",
    "config",
]
ORDER += [
    "machine",
    "parallel",
    "pictures",
    "data",
    "transforms",
    "kernels",
    "nets",
    "pretrained",
    "runs",
    "importing",
    "trackers",
    "diagnosis",
    "generators",
    "objective",
    "training",
    "metrics",
    "tasks",
    "exporting",
    "evaluation",
]
ORDER += ["reports", "build", "estimate", "settings", "recipes", "run", "api", "studio", "cli", "__main__"]
"""From left to right; a module imports only what is left of it, or in its own package."""

NOT_OF_EACH_OTHER = {("training", "metrics"), ("metrics", "training"), ("metrics", "objective")}


@cache
def modules() -> dict[str, ast.Module]:
    """Each module by its name below the package (`training.step`), parsed."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names of modules that anything below `tree` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("steadygan.") in modules() else node.module or ""


def top_level(tree: ast.Module) -> ast.Module:
    """The module without its functions: what is imported with it. What only a type checker reads counts too."""
    return ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])


def rooms() -> set[tuple[str, str]]:
    """(who, whom) for every import from one package or module of the top level in another."""
    pairs = set()
    for name, tree in modules().items():
        who = name.split(".")[0]
        for target in imported(tree):
            package, _, rest = target.partition(".")
            whom = rest.split(".")[0]
            if package == "steadygan" and whom in ORDER and whom != who and name not in ("__init__", ""):
                pairs.add((who, whom))
    return pairs


def test_every_module_has_its_place_in_the_order() -> None:
    places = {name.split(".")[0] for name in modules()} - {"__init__"}
    assert places <= set(ORDER), "give the new one a place"


def test_imports_go_one_way() -> None:
    against = {(a, b) for a, b in rooms() if ORDER.index(a) < ORDER.index(b)}
    assert not against


def test_training_and_scoring_do_not_know_each_other() -> None:
    assert not rooms() & NOT_OF_EACH_OTHER


def test_nothing_imports_the_command_line_but_its_entry() -> None:
    assert {who for who, whom in rooms() if whom == "cli"} == {"__main__"}


def test_no_circles_between_modules() -> None:
    graph = {
        name: {target.removeprefix("steadygan.") for target in imported(top_level(tree))} & modules().keys() - {name}
        for name, tree in modules().items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for below in graph[name]:
                visit(below, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def reached(*names: str) -> set[str]:
    """These modules and all that is imported with them, ours (`training.step`) and others' (`torch.nn`)."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in modules():
            below = {target.removeprefix("steadygan.") for target in imported(top_level(modules()[name]))}
            waiting |= (below | {name.rpartition(".")[0]}) - found - {""}
    return found


def test_loading_a_generator_imports_neither_training_nor_metrics_nor_data() -> None:
    found = reached(*(name for name in modules() if name.split(".")[0] == "generators"))
    assert "generators.loading" in found
    assert "torch" in found
    rooms = {name.split(".")[0] for name in found}
    assert not rooms & {"data", "objective", "training", "metrics", "tasks", "evaluation", "build", "run", "studio"}
    assert not rooms & {"sklearn", "scipy", "torchvision", "torchmetrics", "matplotlib", "pyarrow"}


@pytest.mark.parametrize("command", ["import steadygan.config", "import steadygan.cli", "--help", "presets"])
def test_no_torch_before_it_is_needed(command: str) -> None:
    run = (
        f"import sys; sys.argv = ['steadygan', {command!r}]; from steadygan.cli import app; app(standalone_mode=False)"
    )
    code = command if command.startswith("import") else run
    code += (
        "; import sys; heavy = {'torch', 'numpy', 'sklearn', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


METHODS = {*TERMS, *LOSSES, "icr", "adversarial", "consistency", "penalty", "sn", "ada", "apa", "diffaugment"}


def test_the_update_step_fits_on_a_screen_and_knows_no_method() -> None:
    functions = [node for node in modules()["training.step"].body if isinstance(node, ast.FunctionDef)]
    (update,) = [function for function in functions if function.name == "update"]
    body = update.body[1:]  # without the docstring
    last = body[-1].end_lineno
    assert last is not None
    assert last - body[0].lineno + 1 <= 40
    words = set()
    for function in functions:
        for node in ast.walk(ast.Module(function.body[1:], [])):
            if isinstance(node, ast.Name):
                words.add(node.id)
            elif isinstance(node, ast.Attribute):
                words.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.update(node.value.replace("/", " ").split())
    assert not {word.lower() for word in words} & METHODS
    objective = {name for name in imported(modules()["training.step"]) if "objective" in name}
    core = {f"steadygan.objective.{part}" for part in ("batch", "views", "terms", "bundle")}
    assert objective <= core


POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "termios")
HIDDEN = f"""
import importlib, sys
import torch.distributed, torch._dynamo, numpy, PIL.Image, yaml, pydantic, typer, rich, filelock, safetensors.torch
for name in {POSIX_ONLY}:
    sys.modules[name] = None
import os
for name in ("fork", "sysconf", "getuid", "preadv", "posix_fadvise"):
    delattr(os, name)
for name in {sorted(modules())}:
    if name not in ("__main__", ""):
        importlib.import_module("steadygan." + name if name != "__init__" else "steadygan")
"""


def test_every_module_imports_where_there_is_no_posix() -> None:
    """What others' packages need is imported before: they have their own ways on other systems."""
    subprocess.run([sys.executable, "-c", HIDDEN], check=True)
