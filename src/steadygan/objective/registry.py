"""The registry of terms: builds and checks the terms of a configuration.

A term builder is a function `name(game, *, option=default, ...) -> tuple[Term, ...]`. Those below have names; custom
ones are `module:NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from steadygan.errors import UserError
from steadygan.objective.batch import ORIGINS, Origin
from steadygan.objective.consistency import bcr, cr, zcr
from steadygan.objective.declarations import check_needs, check_together, declaration
from steadygan.objective.game import Game, adversarial
from steadygan.objective.lecam import lecam
from steadygan.objective.logan import logan
from steadygan.objective.orthogonal import ortho
from steadygan.objective.path_length import path_length
from steadygan.objective.penalties import dragan, gp, jsreg, r1, r2
from steadygan.objective.self_supervised import reconstruction, two_scales
from steadygan.objective.terms import Term
from steadygan.objective.translation import cycle, identity, paired, synthesised
from steadygan.objective.unet import cutmix, unet
from steadygan.objective.views import Gen, Relabel
from steadygan.options import check_takes, find, resolve

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

# The images that DiffAugment transforms, by player: the three rows of its ablation (Zhao et al., NeurIPS 2020, §3.1).
PLACEMENTS: Mapping[str, Mapping[str, frozenset[Origin]]] = {
    "both": {"D": ORIGINS, "G": ORIGINS},
    "reals-only": {"D": frozenset(("real",)), "G": frozenset()},
    "discriminator-only": {"D": ORIGINS, "G": frozenset()},
}


def resolve_options(terms: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Fills in all options of terms and checks them against the builders' signatures.

    Raises:
        UserError: a term, module or option is unknown, a value has the wrong type, or two terms exclude each other.
    """
    builders = {name: _builder(name) for name in terms}
    check_together(builders)
    return {name: resolve(builders[name], terms[name] or {}, where=f"objective.terms.{name}") for name in terms}


def build_terms(*games: Game, terms: Mapping[str, Mapping[str, Any] | None]) -> tuple[Term, ...]:
    """Builds all terms of an objective: the adversarial pair and regularisers of each game, without terms of weight 0.

    Raises:
        UserError: `resolve_options` raises it, a game does not meet the requirements of a term, or two terms have the
        same name.
    """
    resolved = resolve_options(terms)
    objective = tuple(term for game in games for term in _written(game, resolved) if term.weight != 0)
    if idle := {"D", "G"} - {term.player for term in objective}:
        raise UserError(f"objective: every term of {' and '.join(sorted(idle))} has weight 0; give one a weight")
    return refuse_twice(objective)


def refuse_twice(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Returns the terms. Raises UserError if two have the same name."""
    keys = [(term.player, term.name) for term in terms]
    if twice := {f"{player}/{name}" for player, name in keys if keys.count((player, name)) > 1}:
        raise UserError(f"objective.terms: two terms are called {', '.join(sorted(twice))}; rename one of them")
    return terms


def _written(game: Game, terms: Mapping[str, Mapping[str, Any]]) -> list[Term]:
    """The terms of one game, with its discriminator and its suffix."""
    for name, options in terms.items():
        check_needs(name, _builder(name), options, game)
    if game.loss.needs_reals and game.conditional:
        # A real is compared with a fake of the same class.
        game = replace(game, fake=Gen(game.fake.net, Relabel(game.fake.source, game.real)))
    game = _rewritten(game, terms)
    added = [term for name, options in terms.items() for term in _builder(name)(game, **options)]
    return [
        replace(term, name=term.name + game.suffix, critic=game.critic if term.critic == "D" else term.critic)
        for term in (*adversarial(game), *added)
    ]


def _rewritten(game: Game, terms: Mapping[str, Mapping[str, Any]]) -> Game:
    """The game after the changes of all terms with `rewrites`."""
    first = None
    for name, options in terms.items():
        rewrite = declaration(_builder(name)).rewrite
        if rewrite is None:
            continue
        changed = rewrite(game, **options)
        if changed.fake != game.fake:
            if first is not None:
                raise UserError(f"objective.terms: {first} and {name} both change the latent of the fakes; keep one")
            first = name
        game = changed
    return game


def _builder(name: str) -> TermBuilder:
    builder: TermBuilder = find(name, TERMS, where=f"objective.terms.{name}", noun="term")
    check_takes(builder, "a game", where=f"objective.terms.{name}")
    return builder
