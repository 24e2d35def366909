"""Sources of configurations: presets, YAML files and run directories, with the sources they extend."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from steadygan.errors import UserError, command_line, nearest, no_run
from steadygan.files import parse_yaml, read_text


@cache
def preset_names() -> list[str]:
    """The presets in the package, by name."""
    return sorted(Path(entry.name).stem for entry in _presets().iterdir() if entry.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML of one preset, as written.

    Raises:
        UserError: there is no such preset.
    """
    if name not in preset_names():
        raise UserError(f"unknown preset {name!r}; {nearest(name, preset_names())}")
    return _presets().joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def _presets() -> Any:
    return resources.files("steadygan").joinpath("presets")


def read_tree(source: str, chain: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """Reads a source: returns its name and its mapping, merged over the source it extends.

    chain: the sources that extend this one, to detect cycles.

    Raises:
        UserError: the preset, file or run does not exist, or is not a mapping.
    """
    if source in chain:
        raise UserError(f"{source}: extends itself through {' → '.join((*chain, source))}; remove one `extends`")
    asked = f"{chain[-1]}: extends: " if chain else ""
    path = Path(source)
    if path.is_dir():
        path = path / "config.yaml"
        if not path.is_file():
            raise UserError(asked + no_run(source))
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{asked}{source}: no such file; check its path")
        name, text = (
            path.parent.name if path.name == "config.yaml" else path.stem,
            read_text(path),
        )
    elif source in preset_names():
        name, text = source, preset_text(source)
    elif "/" in source or path.suffix:
        raise UserError(f"{asked}{source} does not exist: give images, a YAML file, a run directory or a preset's name")
    else:
        raise UserError(
            f"{asked}{source!r} is neither a preset, a YAML file nor a run directory; "
            f"{nearest(source, preset_names())} (`{command_line('presets')}` lists them)"
        )
    tree = parse_yaml(text, path if path.is_file() else source)
    if tree is None or tree == {}:
        raise UserError(
            f"{source}: sets nothing; is the file damaged? An experiment of your own begins with a preset: "
            "`extends: NAME`"
        )
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected a mapping of sections, found {type(tree).__name__}")
    base = tree.pop("extends", None)
    if base is None:
        return name, tree
    sibling = path.parent / str(base)
    _, below = read_tree(str(sibling) if path.suffix and sibling.is_file() else str(base), (*chain, source))
    below.pop("name", None)
    return name, _merge(below, tree)


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged
