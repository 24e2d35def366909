"""Parses `key.path=value` overrides according to the key's type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from steadygan import spelling
from steadygan.errors import UserError, command_line, in_words, one_of
from steadygan.files import key_given_twice

WRAPPERS = (Annotated, Union, UnionType)
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse(root: type[BaseModel], override: str) -> tuple[list[str], Any]:
    """Parses an override of a configuration of type `root` into keys and value.

    The value of a string key is taken literally; `null` unsets an optional key. Numbers may be `1e4` or `10_000`, a
    list `a,b` or `[a, b]`, a section or table a YAML mapping, or `null` for its defaults.

    Raises:
        UserError: the form is wrong, the key is unknown, or the value does not have the key's type; the message shows
            the right spelling.
    """
    path, equals, text = override.partition("=")
    if not equals or not path:
        key, colon, value = override.partition(":")
        example = f"{key}={value}" if colon and key in spelling.keys(root) else "train.batch_size=32"
        example = f"{override}=…" if override in spelling.keys(root) else example
        raise UserError(f"{override!r} is not of the form key.path=value, e.g. {example}")
    if path != path.strip():
        raise UserError(f"{override!r}: leave out the spaces around the equals sign: {path.strip()}={text.strip()}")
    keys = _keys(path)
    return keys, _value(path, _kind(root, keys), text)


def all_keys() -> str:
    """The end of messages about unknown keys."""
    return f" (`{command_line('settings', 'WORD')}` finds others)"


def explain(root: type[BaseModel], item: Any) -> str:
    """Rewords one entry of pydantic's `errors()` for a configuration of type `root`."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(location) or "configuration"
    if item["type"] == "extra_forbidden":
        section: type[BaseModel] | None = root
        for part in location[:-1]:
            field = None if section is None else section.model_fields.get(part)
            section = None if field is None else _section(field.annotation)
        known = f"; {spelling.hint(root, key, section, location[-1])}" if section is not None else ""
        return f"unknown key {key}{known}{all_keys()}"
    message = f"{key}: {in_words(item['msg'])}"
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | BaseModel):
        return message  # a check of several keys, which its message names
    return f"{message}, got {_shown(item['input'])}"[:500]


def _shown(value: Any) -> str:
    """Formats a wrong value for a message; for a mapping, only its keys."""
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value)) or 'nothing'}"
    return repr(value)


def _keys(path: str) -> list[str]:
    """Splits at dots, but not inside `package.module:NAME`."""
    if custom := re.fullmatch(r"(objective\.terms|augment\.transforms)\.([\w.]+:\w+)(?:\.(\w+))?", path):
        return [*custom[1].split("."), custom[2], *([custom[3]] if custom[3] else [])]
    return path.split(".")


def _kind(root: type[BaseModel], keys: list[str]) -> Any:
    """The annotation of a key; `Any` below a table of free keys. An entry in a table of tables may be null."""
    kind: Any = root
    entry = False
    for place, key in enumerate(keys):
        section = _section(kind)
        if section is None:
            if _is_table(kind):
                inner = get_args(kind)[1]
                entry = _is_table(inner)
                kind = inner if entry else Any
                continue
            if kind is Any:
                return Any
            raise UserError(f"{'.'.join(keys)}: {'.'.join(keys[:place])} has no keys of its own")
        if key not in section.model_fields:
            wrong = ".".join(keys[: place + 1]) or ".".join(keys)
            raise UserError(f"unknown key {wrong}; {spelling.hint(root, '.'.join(keys), section, key)}{all_keys()}")
        kind = section.model_fields[key].annotation
    return kind | None if entry and _is_table(kind) else kind


def _section(kind: Any) -> type[BaseModel] | None:
    """The section in an annotation such as `ADAConfig | None`."""
    found = [part for part in _parts(kind) if isinstance(part, type) and issubclass(part, BaseModel)]
    # A number or schedule is not a section.
    return found[0] if found and not {int, float, str} & set(_parts(kind)) else None


def _is_table(kind: Any) -> bool:
    return get_origin(kind) is dict


def _parts(kind: Any) -> tuple[Any, ...]:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if get_origin(kind) is Annotated:
        return _parts(get_args(kind)[0])
    return tuple(inner for part in parts for inner in (_parts(part) if get_origin(part) in WRAPPERS else (part,)))


def _value(path: str, kind: Any, text: str) -> Any:
    parts = _parts(kind)
    if NoneType in parts and (text in ("null", "") or (str not in parts and text in ("~", "Null", "NULL"))):
        return None
    if NoneType in parts and text.strip().lower() in ("none", "nil", "null", '""', "''"):
        own = f" (a file of that name is ./{text})" if str in parts else ""
        raise UserError(f"{path}={text}: no value is written {path}=null{own}")
    if str in parts:
        return text
    origins = {get_origin(part) or part for part in parts}
    if Literal in origins:
        choices = [value for part in parts for value in get_args(part)]
        if not {int, float} & set(parts) or text.strip() in choices:
            return _choice(path, choices, text)
    if bool in parts:
        return _truth(path, text)
    if tuple in origins:
        return _list(path, kind, text)
    if _section(kind) is not None or dict in origins:
        return _mapping(path, text, kind)
    if {int, float} & set(parts) and not text.strip().startswith("{"):
        others = [value for part in parts for value in get_args(part)] + ["null"] * (NoneType in parts)
        return _number(path, text, whole=float not in parts, others=others)
    return _yaml(path, text)


def _choice(path: str, choices: list[Any], text: str) -> Any:
    for choice in choices:
        if text.strip() == str(choice):
            return choice
    known = [str(choice) for choice in choices]
    raise UserError(f"{path}={text}: {one_of(text, known)}")


def _truth(path: str, text: str) -> bool:
    word = text.strip().lower()
    if word in TRUE + FALSE:
        return word in TRUE
    raise UserError(f"{path}={text}: must be true or false")


def _number(path: str, text: str, *, whole: bool, others: Sequence[str] = ()) -> float:
    must = " or ".join([f"{path}={text}: must be a {'whole ' if whole else ''}number", *others])
    if re.fullmatch(r"\s*[-+]?\d+(_\d+)*\s*", text):
        return _bounded(path, int(text), text)  # float would round a long seed
    try:
        value = float(text)
    except ValueError:
        raise UserError(must + spelling.number(path, text, whole=whole)) from None
    if whole and re.fullmatch(r"\s*[-+]?\d{1,3}(\.\d{3})+\s*", text):
        one = int(value) if value.is_integer() else ""
        raise UserError(f"{must}{spelling.number(path, text, whole=True)}{one and f', or {path}={one}'}")
    if whole and not value.is_integer():
        raise UserError(must)
    return _bounded(path, int(value), text) if whole else value


def _bounded(path: str, value: int, text: str) -> int:
    if abs(value) >= 1 << 63:
        raise UserError(f"{path}: must be below {1 << 63}, got {text}")
    return value


def _list(path: str, kind: Any, text: str) -> list[Any]:
    if text.strip() in ("null", "[]", ""):
        return []
    if text.strip().lower() in spelling.NOTHING:
        raise UserError(f"{path}={text}: an empty list is written {path}=null")
    inner = text.strip().removeprefix("[").removesuffix("]")
    entries = [entry.strip().strip("'\"") for entry in inner.split(",")]
    choices = {str(choice).casefold(): str(choice) for part in _parts(kind) for choice in get_args(get_args(part)[0])}
    words = [word for word in re.split(r"[,;+|/\s]+", inner.casefold()) if word]
    if choices and set(words) <= choices.keys() and not set(entries) <= set(choices.values()):
        raise UserError(f"{path}={text}: write {path}={','.join(choices[word] for word in words)}")
    return entries


def _mapping(path: str, text: str, kind: Any) -> Any:
    value = _yaml(path, text)
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    section, word = _section(kind), text.strip().casefold()
    where = " (docs/methods.md lists them)" if section is None else ""
    said = f"{path}={text}: takes keys of its own{where}; write "
    optional = NoneType in _parts(kind)
    if optional and word in (*TRUE, *FALSE, *spelling.NOTHING):
        raise UserError(f"{said}{path}={{}} to switch it on with its defaults, {path}=null to switch it off")
    names = re.findall(r"[\w.:-]+", text)
    if section is None and not optional and _is_table(get_args(kind)[1]) and names:
        raise UserError(f"{said}{' '.join(f'{path}.{name}={{}}' for name in names)}, or {path}=null for none")
    example = "OPTION" if section is None else next((name for name in section.model_fields if name == word), None)
    if section is not None:
        example = example or next(iter(section.model_fields))
        inner = _section(section.model_fields[example].annotation)
        example = example if inner is None else f"{example}.{next(iter(inner.model_fields))}"
    defaults = (
        f"{path}={{}} for its defaults, {path}=null to switch it off" if optional else f"{path}=null for its defaults"
    )
    raise UserError(f"{said}{path}.{example}=…, or {defaults}")


def _yaml(path: str, text: str) -> Any:
    """Parses a value whose type is not known yet: an option of a network or term."""
    try:
        if twice := key_given_twice(text):
            raise UserError(f"{path}={text}: {twice.partition(',')[0]}: keep one of them")
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        example = '"{a: 1, b: [2, 3]}"'
        raise UserError(f"{path}={text}: not understood; quote tables and lists as in {path}={example}") from None
    if isinstance(value, Mapping) and (joined := next((k for k in value if ":" in str(k) and value[k] is None), None)):
        spaced = str(joined).replace(":", ": ")
        raise UserError(f"{path}={text}: write a space after each colon, as in {{{spaced}}}, and quote it all")
    if isinstance(value, str):
        try:
            return float(value)  # YAML reads 1e-4, without a point, as a string.
        except ValueError:
            return value
    return value
