"""Every setting of a run with type, default and description, for `steadygan settings` and the docs.

Collected from the code: `config.Config`, the signatures and docstrings of terms and networks, and the registries of
adversarial losses, metrics, protocols and augmentations.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from steadygan.config import Config
from steadygan.options import parameters, passes_options_to, unbound
from steadygan.schedules import Schedule


class Setting(NamedTuple):
    """One line of the reference.

    Attributes:
        group: its heading.
        key: in command-line form, such as `train.batch_size` or `objective.loss=hinge`.
        kind: type and range in words; "" for a choice, which has no value.
        default: in command-line form; "" for a choice or a required value.
        about: one-sentence description.
    """

    group: str
    key: str
    kind: str
    default: str
    about: str

    @property
    def where(self) -> str:
        """Type and default in one phrase."""
        if not self.kind or not self.default:
            return self.kind
        return f"{self.kind}, default {self.default}"


def every_setting() -> list[Setting]:
    """All settings, grouped: configuration keys, losses, terms, backbones, augmentations, metrics, protocols."""
    return [*keys(), *losses(), *terms(), *backbones(), *augmentations(), *metrics(), *protocols()]


def matching(settings: list[Setting], word: str) -> list[Setting]:
    """The settings whose key, group or description contains a word, ignoring case."""
    wanted = word.casefold()
    return [setting for setting in settings if any(wanted in text.casefold() for text in setting)]


def keys() -> list[Setting]:
    """The keys of `Config`."""
    found = [*_section(Config, "", "general")]
    shape = Schedule.model_fields
    found += [
        Setting("a schedule, in place of a number", name, describe_type(field), _written(field.default), _about(field))
        for name, field in shape.items()
    ]
    return found


def losses() -> list[Setting]:
    """The adversarial losses."""
    from steadygan.objective.adversarial import LOSSES

    group = "adversarial losses"
    return [Setting(group, f"objective.loss={name}", "", "", loss.about) for name, loss in LOSSES.items()]


def terms() -> list[Setting]:
    """The terms and their options."""
    from steadygan.objective.registry import TERMS

    found = []
    for name, build in TERMS.items():
        found.append(Setting(f"term {name}", f"objective.terms.{name}={{}}", "", "", summary(build)))
        found += _options(build, f"objective.terms.{name}", f"term {name}")
    return found


def backbones() -> list[Setting]:
    """The families of networks and their options."""
    from steadygan.nets.registry import FAMILIES, TRANSLATORS

    found = []
    for name, family in {**FAMILIES, **TRANSLATORS}.items():
        group = f"backbone {name}"
        module = inspect.getmodule(unbound(family.critic if name == "unet" else family.generator))
        found.append(Setting(group, f"model.kind={name}", "", "", summary(module)))
        found += _options(family.generator, "model.generator", group)
        own = "of D's channels; null: model.width"
        found.append(Setting(group, "model.critic.width", "int > 0", "null", f"base number {own}"))
        found += _options(family.critic, "model.critic", group)
    return found


def augmentations() -> list[Setting]:
    """The operations of ADA; settings of other augmentations are configuration keys."""
    from steadygan.transforms.ada import ABOUT, DEFAULT, GROUPS

    return [
        Setting(f"ADA's {group}", f"augment.ada.ops.{name}", "float in [0, 1]", _written(default), ABOUT[name])
        for group, names in GROUPS.items()
        for default in [DEFAULT.get(group, 0.0)]
        for name in names
    ]


def metrics() -> list[Setting]:
    """The metrics."""
    from steadygan.metrics.registry import METRICS

    return [Setting("metrics", f"eval.metrics={name}", "", "", metric.about) for name, metric in METRICS.items()]


def protocols() -> list[Setting]:
    """The protocols, with a summary of each."""
    from steadygan.metrics.protocol import PROTOCOLS

    found = []
    for name, protocol in PROTOCOLS.items():
        reals = "all" if protocol.num_real is None else f"{'up to ' * protocol.at_most}{protocol.num_real:,}"
        split = {"all": "images of the data set"}.get(protocol.split, f"{protocol.split} images")
        about = (
            f"{protocol.extractor} features, {protocol.num_fake:,} fakes, {reals} {split}: {', '.join(protocol.scores)}"
        )
        found.append(Setting("protocols", f"eval.protocol={name}", "", "", about))
    return found


def summary(thing: Any) -> str:
    """The first paragraph of a docstring on one line."""
    text = inspect.getdoc(unbound(thing)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def documented(build: Callable[..., Any]) -> dict[str, str]:
    """The descriptions in a docstring's `Args:`, by parameter; `a, b: …` describes both.

    A class without a constructor of its own has those of the class it inherits it from, too, and so has one whose
    constructor passes `**options` on.
    """
    parts = [unbound(build)]
    while inspect.isclass(parts[-1]) and ("__init__" not in vars(parts[-1]) or passes_options_to(parts[-1])):
        parts.append(parts[-1].__base__)
    return {name: about for part in reversed(parts) for name, about in _documented(part).items()}


def _documented(thing: Any) -> dict[str, str]:
    text = inspect.getdoc(thing) or ""
    _, found, section = text.partition("\nArgs:\n")
    if not found:
        return {}
    lines: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if re.match(r"    (\*\*)?\w+(, \w+)*: ", line):
            lines.append(line.strip())
        elif line.strip() and lines:
            lines[-1] += " " + line.strip()
    entries = (line.partition(": ") for line in lines)
    both = ((name, about.removesuffix(".")) for names, _, about in entries for name in names.split(", "))
    return {name: about for name, about in both if not name.startswith("*")}


def describe_type(field: FieldInfo) -> str:
    """Type and range of a field in words: `int > 0`, `crop or squash`, `number or schedule`."""
    return _type(field.annotation, field.metadata)


def _section(section: type[BaseModel], path: str, group: str) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        key = f"{path}{name}"
        inner = next((part for part in (field.annotation, *get_args(field.annotation)) if _is_section(part)), None)
        if inner is None:
            yield Setting(group, key, describe_type(field), _written(field.get_default()), _about(field))
            continue
        if field.default is None:
            yield Setting(group, key, "section or null", "null", _about(field))
        yield from _section(inner, f"{key}.", key if not path else group)


def _is_section(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel) and not issubclass(part, Schedule)


def _options(build: Callable[..., Any], path: str, group: str) -> Iterator[Setting]:
    options, abouts = parameters(build), documented(build)
    for name, (default, annotation) in options.items():
        yield Setting(group, f"{path}.{name}", _type(annotation, ()), _written(default), abouts.get(name, ""))


def _about(field: FieldInfo) -> str:
    return field.description or ""


def _type(annotation: Any, limits: Any) -> str:
    parts = list(get_args(annotation)) if _is_union(annotation) else [annotation]
    if any(_is_schedule(part) for part in parts):
        parts = ["number or schedule", *(part for part in parts if part is NoneType)]
    words = [part if isinstance(part, str) else _word(part, limits) for part in parts]
    return " or ".join(dict.fromkeys(words))


def _is_union(annotation: Any) -> bool:
    return NoneType in get_args(annotation) or str(get_origin(annotation)) in (
        "<class 'types.UnionType'>",
        "typing.Union",
    )


def _is_schedule(part: Any) -> bool:
    return part is Schedule or Schedule in get_args(part) or any(_is_schedule(inner) for inner in get_args(part))


def _word(part: Any, limits: Any) -> str:
    if hasattr(part, "__metadata__"):
        return _word(get_args(part)[0], [*limits, *part.__metadata__])
    origin = get_origin(part)
    if origin is Literal:
        return " or ".join(map(str, get_args(part)))
    if origin is tuple:
        return f"list of {_word(get_args(part)[0], ())}"
    if origin is dict:
        return "table"
    names = {NoneType: "null", str: "text", bool: "true or false", int: "int", float: "float"}
    if part in (int, float):
        return names[part] + _range(limits)
    return names.get(part, "list of int" if "Sequence" in str(part) else str(part))


def _range(limits: Any) -> str:
    """The bounds of a pydantic field's metadata: ` > 0`, ` in [0, 1]`."""
    bounds: dict[str, float] = {}
    for limit in limits:
        for inner in getattr(limit, "metadata", (limit,)):
            bounds |= {name: getattr(inner, name) for name in ("gt", "ge", "lt", "le") if hasattr(inner, name)}
    low = next((f"{'(' if name == 'gt' else '['}{bounds[name]:g}" for name in ("gt", "ge") if name in bounds), None)
    high = next((f"{bounds[name]:g}{')' if name == 'lt' else ']'}" for name in ("lt", "le") if name in bounds), None)
    if low and high:
        return f" in {low}, {high}"
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return "".join(f" {signs[name]} {value:g}" for name, value in bounds.items())


def _written(value: Any) -> str:
    """Formats a value for the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(_written, value)) or "[]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_written(entry)}" for name, entry in value.items()) + "}"
    if value in (PydanticUndefined, inspect.Parameter.empty):
        return ""  # required
    if value == "":
        return '""'
    return f"{value:g}" if isinstance(value, float) else str(value)
