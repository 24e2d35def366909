"""Composes a run's objective: the terms of its games and of its adaptive augmentations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steadygan.objective.adaptive import deceived, watch
from steadygan.objective.game import Game
from steadygan.objective.registry import build_terms, refuse_twice
from steadygan.objective.terms import Term
from steadygan.transforms.adaptive import Adaptive
from steadygan.transforms.pipeline import Pipeline


def compose(
    game: Game,
    pipeline: Pipeline,
    terms: Mapping[str, Mapping[str, Any] | None],
    games: Callable[[Game], tuple[Game, ...]],
) -> tuple[Term, ...]:
    """All terms of both players.

    Args:
        game: reals against the generator's images.
        pipeline: the augmentations.
        terms: the regularisers with their options, as in a configuration.
        games: derives all games from the one; a translation with two directions has two.

    Raises:
        UserError: see `build_terms`.
    """
    controllers = pipeline.controllers
    if "apa" in controllers:
        game = deceived(game, controllers["apa"])
    built = build_terms(*games(game), terms=terms)
    watched = [term for name, steers in controllers.items() for term in watch(built, game.loss, name, steers)]
    for name, transform in pipeline.own.items():
        if isinstance(transform, Adaptive):
            key = f"transforms.{name}"
            watched += watch(built, game.loss, name.rpartition(":")[2], transform, key=key)
    return refuse_twice((*built, *watched))
