"""Docstrings of every public module: arguments, errors and fields are described, each in its section."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import steadygan
from steadygan.settings import documented

PACKAGE = Path(steadygan.__file__).parent
PARTS = sorted(
    {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")} - {"__main__"}
)
LONG = 4
"""Parameters from which on a signature needs `Args:`."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def library() -> Iterator[ModuleType]:
    """All modules but those of the command line, whose options have help texts."""
    for inner in pkgutil.walk_packages([str(PACKAGE)], "steadygan."):
        if not re.match(r"steadygan\.(cli|__main__)\b", inner.name):
            yield import_module(inner.name)


def test_longer_signatures_are_described_whole() -> None:
    """Of every public function, method and constructor with four parameters or more."""
    found = {}
    for module in library():
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            found |= {f"{module.__name__}: {qualified}": both for qualified, both in callables(thing)}
    assert len(found) > 150
    assert [name for name, (function, doc) in found.items() if not whole(list(documented(doc)), function)] == []


def whole(described: list[str], function: Any) -> bool:
    """All parameters are described, but for the first of terms and networks: their options are the others."""
    arguments = arguments_of(function)
    if arguments[0] == "shape" and "**" in str(inspect.signature(function)):
        arguments.pop()  # the options of the class that it passes them to come first
        described = described[1 - len(arguments) :]
    return described in (arguments, arguments[1:] if arguments[0] in ("game", "shape") else arguments)


def callables(thing: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """(name, (function, what holds its docstring)) of a function, or of a class's own; a dataclass's fields say all."""
    for member in vars(thing).values() if inspect.isclass(thing) else [thing]:
        function = getattr(member, "__func__", member)  # a class method's
        own = inspect.isfunction(function) and function.__code__.co_filename != "<string>"
        own = own and not issubclass(thing if inspect.isclass(thing) else object, torch.autograd.Function)
        if own and len(arguments_of(function)) >= LONG and (name := function.__name__).strip("_") in (name, "init"):
            yield function.__qualname__, (function, thing if name == "__init__" and not function.__doc__ else function)


def arguments_of(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


@cache
def definitions(part: str) -> list[tuple[str, Definition, str, Definition | None]]:
    """(place, definition, docstring, its class) of what a module or package defines and documents, private ones too."""
    found = []
    for path in (
        [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").is_file() else sorted((PACKAGE / part).rglob("*.py"))
    ):
        for holder in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for node in getattr(holder, "body", []) if isinstance(holder, ast.Module | ast.ClassDef) else []:
                if not isinstance(node, Definition):
                    continue
                owner = holder if isinstance(holder, ast.ClassDef) else None
                docstring = ast.get_docstring(node)
                if docstring is None and owner and node.name == "__init__":
                    docstring = ast.get_docstring(owner)
                if docstring:
                    found.append(
                        (f"{path.name}: {owner.name + '.' if owner else ''}{node.name}", node, docstring, owner)
                    )
    return found


ERRORS = {"UserError", "Refused", "UnreadableImage", "ValueError", "TypeError", "KeyError"}


def raised(node: ast.AST) -> Iterator[str]:
    """The errors that a function raises itself, not those of functions within it."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Raise) and inner.exc is not None:
            yield ast.unparse(inner.exc.func if isinstance(inner.exc, ast.Call) else inner.exc)
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from raised(inner)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "cli"])
def test_a_public_docstring_names_the_errors_that_the_function_raises(part: str) -> None:
    wrong = [
        f"{place}: {error}"
        for place, node, docstring, _ in definitions(part)
        if not isinstance(node, ast.ClassDef) and (not node.name.startswith("_") or node.name == "__init__")
        for error in sorted(ERRORS & set(raised(node)))
        if error not in docstring
    ]
    assert wrong == []


def members(node: ast.ClassDef) -> set[str]:
    """The fields of a class and the parameters of its constructor."""
    fields = {
        field.target.id
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    made = [inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__"]
    return fields | {arg.arg for function in made for arg in (*function.args.args, *function.args.kwonlyargs)}


@pytest.mark.parametrize("part", PARTS)
def test_a_class_describes_its_members_in_a_section(part: str) -> None:
    """`Args:` or `Attributes:`, from which the reference is made, rather than `one: …; another: …` in a paragraph."""
    wrong = []
    for place, node, docstring, _ in definitions(part):
        for paragraph in docstring.split("\n\n") if isinstance(node, ast.ClassDef) else []:
            words = re.findall(r"(?:^|[;.] )((?:\w+, )*\w+): ", " ".join(paragraph.split()))
            listed = [word for word in words if set(word.split(", ")) <= members(node)]
            if len(listed) > 1 and not re.match(r"(Args|Attributes|Raises|Returns|Yields):", paragraph):
                wrong.append(f"{place}: {', '.join(listed)}")
    assert wrong == []
