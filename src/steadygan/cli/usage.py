"""Explains invalid command lines, instead of typer's own messages."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from itertools import takewhile
from typing import Any

from steadygan.errors import UserError, in_words, nearest, one_of, program
from steadygan.spelling import number

INSTEAD = {"help": "--help", "version": "--version", "list": "presets", "generate": "sample", "eval": "evaluate"}
"""Our names for other programs' commands."""


def explained(error: Exception) -> UserError | None:
    """Rewords a mistake found by typer; None for other errors.

    Exceptions are recognised by name, as they are click's or, in newer versions, typer's own.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if "UsageError" not in names or "NoArgsIsHelpError" in names:
        return None
    context, given = getattr(error, "ctx", None), sys.argv[1:]
    message = str(getattr(error, "message", error))
    said = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    if "NoSuchOption" in names:
        said = _no_option(str(getattr(error, "option_name", "")), context, given)
    elif "MissingParameter" in names:
        said = f"{_name(getattr(error, 'param', None))} is missing{_about(getattr(error, 'param', None))}"
    elif "BadParameter" in names:
        said = _bad_value(error, given)
    elif "BadOptionUsage" in names:
        option = str(getattr(error, "option_name", ""))
        param = next((p for p in _options(context) if option in p.opts), None)
        said = f"{option} needs a value{_about(param)}" if "requires" in message else said
    elif (command := re.match(r"No such command '(.*?)'", message)) is not None:
        said = _no_command(command[1], context)
    elif (extra := re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message)) is not None:
        takes = " ".join(_name(p) for p in _arguments(context))
        takes = f"the arguments are {takes} (quote what contains spaces)" if takes else "the command takes none"
        said = f"unexpected argument {extra[1]!r}; {takes}"
    path = getattr(context, "command_path", None) or " ".join([program(), *_command(given)])
    return UserError(f"{said} (`{path} --help` tells more)")


def _command(given: list[str]) -> list[str]:
    """The words that name the command, for parser errors that lack it."""
    words = list(takewhile(lambda word: not word.startswith("-"), given))
    return words[: 2 if words[:1] == ["data"] else 1]


def _no_option(option: str, context: Any, given: list[str]) -> str:
    # A short option is only the beginning of what was written, e.g. -d of -data.path=x.
    written = next((word for word in given if word == option or word.startswith(f"{option}=")), None)
    written = written or next((word for word in given if re.match("-[a-z]", word) and word[:2] == option), option)
    known = [name for param in _options(context) for name in param.opts if name.startswith("--")]
    key, equals, value = written.lstrip("-").partition("=")
    if any(param.name == "overrides" for param in context.command.params) and (settings := _settings(key)):
        place = given.index(written) if written in given else len(given)
        if not equals and given[place + 1 : place + 2] and not given[place + 1].startswith("-"):
            value = given[place + 1]
        spelled = " or ".join(f"{setting}={value or '…'}" for setting in settings)
        return f"there is no option {written}; settings are written without dashes: {spelled}"
    if equals and f"--{key}" in known:
        return f"there is no option {written}; write --{key}={value}"
    if close := get_close_matches(option.replace("_", "-").casefold(), known, n=1):
        return f"there is no option {option}; did you mean {close[0]!r}?"
    return f"there is no option {option}; known: {', '.join(sorted(known)) or 'none'}"


def _settings(key: str) -> list[str]:
    """Configuration keys that an option's name may mean."""
    from steadygan.config import Config
    from steadygan.spelling import keys, meant

    return [key] if key in keys(Config) else meant(Config, key)


def _bad_value(error: Exception, given: list[str]) -> str:
    param, message = getattr(error, "param", None), str(getattr(error, "message", error))
    hint = getattr(error, "param_hint", None)
    names = list(getattr(param, "opts", None) or ([hint] if isinstance(hint, str) else []))
    value = next((_value(given, name) for name in names if _value(given, name) is not None), None)
    what = _name(param) if param is not None else str(hint)
    choices = re.search(r"(?:Value error, )?'(.*?)' is not one of (.*?)\.?$", message)
    if choices is not None:
        value = choices[1]
        said = one_of(value, re.findall("'(.*?)'", choices[2]))
    else:
        said = _bounded(in_words(re.sub(r"^'.*?' is not a valid ", "Input should be a valid ", message)), param)
    if value is not None and said.startswith(("must be a whole number", "must be a number")):
        said += number(what, value, whole="whole" in said)
    return f"{what}{'' if value is None else f' {value}'}: {said}"


def _bounded(said: str, param: Any) -> str:
    """The required kind and range of a number."""
    info = getattr(getattr(param, "type_descriptor", None), "parameter_info", None) or getattr(param, "type", None)
    low, high = getattr(info, "min", None), getattr(info, "max", None)
    if low is None or not said.startswith(("must be a whole number", "must be a number")):
        return said
    return f"{said}, {f'from {low:g} to {high:g}' if high is not None else f'{low:g} or more'}"


def _value(given: list[str], name: str) -> str | None:
    """The value given for an option."""
    for place, word in enumerate(given):
        if word == name and place + 1 < len(given):
            return given[place + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _no_command(name: str, context: Any) -> str:
    known = list(context.command.list_commands(context))
    said = f"there is no command {name!r}"
    if name in INSTEAD and (INSTEAD[name].startswith("-") or INSTEAD[name] in known):
        return f"{said}; it is `{program()} {INSTEAD[name]}`"
    return f"{said}; {nearest(name, known)}"


def _options(context: Any) -> list[Any]:
    return [] if context is None else [p for p in context.command.params if p.param_type_name == "option"]


def _arguments(context: Any) -> list[Any]:
    return [] if context is None else [p for p in context.command.params if p.param_type_name == "argument"]


def _name(param: Any) -> str:
    if param is None:
        return "an argument"
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.name).upper()


def _about(param: Any) -> str:
    about = getattr(param, "help", None)
    return f": {str(about).partition('  [')[0]}" if about else ""
