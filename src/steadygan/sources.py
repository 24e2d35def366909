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


def read_tree(source: str, chain: tuple[str, ...] = (), *, preset: bool = False) -> tuple[str, dict[str, Any]]:
    """Reads a source: returns its name and its mapping, merged over the source it extends.

    A preset's name means the preset, unless it is the name of a run in the current directory.

    chain: the sources that extend this one, to detect cycles; a preset's name that is extended is always the preset.
    preset: the source is a preset's name, whatever the current directory holds.

    Raises:
        UserError: the preset, file or run does not exist, or is not a mapping.
    """
    if source in chain:
        raise UserError(f"{source}: extends itself through {' → '.join((*chain, source))}; remove one `extends`")
    is_preset = source in preset_names() and (preset or bool(chain) or not (Path(source) / "config.yaml").is_file())
    path = None if is_preset else _file(source, f"{chain[-1]}: extends: " if chain else "")
    name, text = (source, preset_text(source)) if path is None else (_name(path), read_text(path))
    tree = parse_yaml(text, path or source)
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
    sibling = None if path is None else path.parent / str(base)
    beside = sibling is not None and sibling.is_file()
    _, below = read_tree(str(sibling if beside else base), (*chain, source))
    below.pop("name", None)
    return name, _merge(below, tree)


def _file(source: str, asked: str) -> Path:
    """The YAML file of a source that is not a preset.

    asked: the beginning of messages: what names this source.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "config.yaml"
        if not path.is_file():
            raise UserError(asked + no_run(source))
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{asked}{source}: no such file; check its path")
        return path
    if "/" in source or path.suffix:
        raise UserError(f"{asked}{source} does not exist: give images, a YAML file, a run directory or a preset's name")
    images, path_or = ("", "") if asked else ("a folder of images, ", "check the path of a folder, or of presets: ")
    raise UserError(
        f"{asked}{source!r} is neither {images}a preset, a YAML file nor a run directory; "
        f"{path_or}{nearest(source, preset_names())} (`{command_line('presets')}` lists them)"
    )


def _name(path: Path) -> str:
    """The name of an experiment by its file."""
    return path.parent.name if path.name == "config.yaml" else path.stem


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged
