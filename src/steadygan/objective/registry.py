"""What the players minimise: sums of terms over views.

A term builder is a function `name(parts, *, option=default, ...) -> tuple[Term, ...]`. Those below are known by
name; any other is named in a configuration as `module:function`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

import pydantic

from steadygan.errors import UserError, nearest
from steadygan.objective.adversarial import adversarial, loss_by_name
from steadygan.objective.bundle import ORIGINS
from steadygan.objective.consistency import bcr, cr, zcr
from steadygan.objective.lecam import lecam
from steadygan.objective.logan import logan
from steadygan.objective.orthogonal import ortho
from steadygan.objective.path_length import path_length
from steadygan.objective.penalties import dragan, gp, jsreg, r1, r2
from steadygan.objective.self_supervised import reconstruction, two_scales
from steadygan.objective.terms import Parts, Term
from steadygan.objective.translation import cycle, identity, paired, synthesised
from steadygan.objective.unet import cutmix, unet
from steadygan.objective.views import (
    Gen,
    Origin,
    Relabel,
)

TermBuilder = Callable[..., tuple[Term, ...]]

TERMS: dict[str, TermBuilder] = {
    "cr": cr,
    "bcr": bcr,
    "zcr": zcr,
    "r1": r1,
    "r2": r2,
    "gp": gp,
    "dragan": dragan,
    "jsreg": jsreg,
    "logan": logan,
    "path_length": path_length,
    "unet": unet,
    "cutmix": cutmix,
    "ortho": ortho,
    "lecam": lecam,
    "two_scales": two_scales,
    "reconstruction": reconstruction,
    "cycle": cycle,
    "synthesised": synthesised,
    "identity": identity,
    "paired": paired,
}

# Which images DiffAugment transforms in whose phases: the three rows of its ablation (Zhao et al., NeurIPS 2020, §3.1).
PLACEMENTS: Mapping[str, Mapping[str, frozenset[Origin]]] = {
    "both": {"D": ORIGINS, "G": ORIGINS},
    "reals-only": {"D": frozenset(("real",)), "G": frozenset()},
    "discriminator-only": {"D": ORIGINS, "G": frozenset()},
}


def resolve_options(terms: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """The terms with every option filled in and checked against its builder's signature.

    Raises `UserError` for an unknown term, module, option or a value of the wrong type.
    """
    if "cr" in terms and "bcr" in terms:
        raise UserError("objective.terms: bcr contains cr (on reals); keep one of them and set bcr.real to its weight")
    return {name: _options(name, options or {}) for name, options in terms.items()}


def build_terms(*games: Parts, loss: str, terms: Mapping[str, Mapping[str, Any] | None]) -> tuple[Term, ...]:
    """All terms of an objective: of each game the adversarial pair and what is added to it.

    Terms of weight 0 are left out.
    """
    resolved = resolve_options(terms)
    objective = tuple(term for parts in games for term in _play(parts, loss, resolved))
    keys = [(term.player, term.name) for term in objective]
    if twice := {f"{player}/{name}" for player, name in keys if keys.count((player, name)) > 1}:
        raise UserError(f"objective.terms: two terms are called {', '.join(sorted(twice))}; rename one of them")
    return objective


def _play(parts: Parts, loss: str, terms: Mapping[str, Mapping[str, Any]]) -> list[Term]:
    """The terms of one game, with its critic and its suffix."""
    parts.refuse(terms)
    parts = replace(parts, loss=loss)
    if loss_by_name(loss).needs_reals and parts.conditional:
        # A real is compared with a fake of its own class.
        parts = replace(parts, fake=Gen(parts.fake.net, Relabel(parts.fake.source, parts.real)))
    parts = _rewrite(parts, terms)
    game = adversarial(parts, loss=loss)
    added = [term for name, options in terms.items() for term in _builder(name)(parts, **options) if term.weight != 0]
    return [
        replace(term, name=term.name + parts.suffix, critic=parts.critic if term.critic == "D" else term.critic)
        for term in (*game, *added)
    ]


def _rewrite(parts: Parts, terms: Mapping[str, Mapping[str, Any]]) -> Parts:
    """The parts after every term that changes them (`rewrites`) has done so."""
    first = None
    for name, options in terms.items():
        rewrite = getattr(_builder(name), "rewrite", None)
        if rewrite is None:
            continue
        rewritten = rewrite(parts, **options)
        if rewritten.fake != parts.fake:
            if first is not None:
                raise UserError(f"objective.terms: {first} and {name} both change what fakes are made of; keep one")
            first = name
        parts = rewritten
    return parts


def _builder(name: str) -> TermBuilder:
    if ":" not in name:
        if name not in TERMS:
            raise UserError(
                f"objective.terms.{name}: unknown term; {nearest(name, TERMS)} (your own: write it as module:function)"
            )
        return TERMS[name]
    module, _, function = name.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"objective.terms.{name}: write a term of your own as module:function, e.g. my_terms:spread")
    try:
        builder = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"objective.terms.{name}: cannot be imported ({error}); is it on PYTHONPATH?") from error
    if not callable(builder):
        raise UserError(f"objective.terms.{name}: {function} is not a function")
    return builder


def _options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    builder = _builder(name)
    options = [p for p in inspect.signature(builder).parameters.values() if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(builder)
    resolved = {option.name: option.default for option in options}
    for key, value in given.items():
        where = f"objective.terms.{name}.{key}"
        if key not in resolved:
            raise UserError(f"{where}: unknown option; {nearest(key, resolved)}")
        try:
            resolved[key] = pydantic.TypeAdapter(hints.get(key, Any)).validate_python(value)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(f"{where}: {reason}, got {value!r}") from error
    if missing := [key for key, value in resolved.items() if value is inspect.Parameter.empty]:
        raise UserError(f"objective.terms.{name}: needs {', '.join(missing)}")
    return resolved
