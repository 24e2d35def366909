"""Options of callables named in a configuration, checked by name and type against their signatures.

Terms, adversarial losses and networks, built-in and custom, are callables whose keyword-only parameters are their
options. The signature defines names, types and defaults.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, get_type_hints

import pydantic

from steadygan.errors import UserError, in_words, nearest

NONE_SET: Mapping[str, str] = MappingProxyType({})


def resolve(
    build: Callable[..., Any], given: Mapping[str, Any], *, where: str, set_by: Mapping[str, str] = NONE_SET
) -> dict[str, Any]:
    """The values of all keyword-only parameters of `build`: given values, converted to the parameter's type, or
    defaults.

    Args:
        build: a function, class or `functools.partial` of one.
        given: options from YAML or the command line; "false" becomes a `bool`, "3" an `int`.
        where: the key of the options in the configuration, such as `model.critic`, for messages.
        set_by: parameters set by the run rather than as options, with their keys.

    Raises:
        UserError: an option is unknown, set elsewhere, missing, or of the wrong type.
    """
    options = parameters(build)
    resolved = {name: default for name, (default, _) in options.items() if name not in set_by}
    for name, value in given.items():
        if name in set_by:
            raise UserError(f"{where}.{name}: not an option of its own; set {set_by[name]}")
        if name not in resolved:
            known = nearest(name, resolved) if resolved else "there are none"
            raise UserError(f"{where}.{name}: unknown option; {known}")
        try:
            resolved[name] = pydantic.TypeAdapter(options[name][1]).validate_python(value)
        except pydantic.ValidationError as error:
            reason = in_words(error.errors()[0]["msg"])
            raise UserError(f"{where}.{name}: {reason}, got {value!r}") from error
    if missing := [name for name, value in resolved.items() if value is inspect.Parameter.empty]:
        raise UserError(f"{where}: needs {', '.join(missing)}")
    return resolved


def parameters(build: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """The keyword-only parameters of `build` by name: (default, annotation).

    The options of a class whose constructor passes `**options` on are those of the class it inherits from, too.

    Raises:
        UserError: it has no signature.
    """
    try:
        signature = inspect.signature(build)
    except ValueError as error:  # of some built-in callables
        raise UserError(f"{build!r} does not say what its options are") from error
    hints = _hints(build)
    own = {
        name: (option.default, hints.get(name, Any))
        for name, option in signature.parameters.items()
        if option.kind is option.KEYWORD_ONLY
    }
    if (base := passes_options_to(unbound(build))) is None:
        return own
    bound = build.keywords if isinstance(build, partial) else {}
    return {name: (bound.get(name, default), kind) for name, (default, kind) in parameters(base).items()} | own


def passes_options_to(build: Callable[..., Any]) -> type | None:
    """The class that gets the `**options` of a class's constructor: the one it inherits from. None: there are none."""
    if not inspect.isclass(build) or build.__base__ is None:
        return None
    kinds = {parameter.kind for parameter in inspect.signature(build).parameters.values()}
    return build.__base__ if inspect.Parameter.VAR_KEYWORD in kinds else None


def unbound(build: Any) -> Any:
    """The function or class inside a `functools.partial`."""
    return build.func if isinstance(build, partial) else build


def find(name: str, known: Mapping[str, Any], *, where: str, noun: str) -> Any:
    """Finds an object by its name in a configuration: an entry of `known`, or a custom `module:NAME`.

    Args:
        name: as in the configuration.
        known: the built-in objects.
        where: the key that holds the name, such as `objective.loss`, for messages.
        noun: its kind, such as "adversarial loss", for messages.

    Raises:
        UserError: there is no such entry, module or attribute.
    """
    if ":" not in name:
        if name not in known:
            raise UserError(f"{where}: unknown {noun} {name!r}; {nearest(name, known)} (your own: module:NAME)")
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"{where}: write your own {noun} as module:NAME, got {name!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}: {name} cannot be imported ({error}); is it on PYTHONPATH?") from error


def check_takes(build: Any, one: str, *, where: str) -> None:
    """Raises UserError unless `build` can be called with one argument, named `one` in the message."""
    if not callable(build):
        raise UserError(f"{where} is not a function")
    try:
        inspect.signature(build).bind_partial(None)
    except TypeError:
        raise UserError(f"{where} is not a function of {one}, which it is called with") from None
    except ValueError:  # some built-in callables have no signature
        return


def _hints(build: Callable[..., Any]) -> dict[str, Any]:
    build = unbound(build)
    return get_type_hints(build.__init__ if inspect.isclass(build) else build, include_extras=True)


def check_keywords(kind: type, given: Mapping[str, Any]) -> None:
    """Raises TypeError for a keyword that is not in the `TypedDict`, like a call with an unknown keyword."""
    if unknown := given.keys() - kind.__annotations__.keys():
        name = min(unknown)
        raise TypeError(f"unexpected keyword argument {name!r}; {nearest(name, kind.__annotations__)}")
