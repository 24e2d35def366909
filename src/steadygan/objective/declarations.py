"""Declarations of term builders: requirements, exclusions, and changes to the game.

Declarations are decorators, so third-party terms are checked like the package's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch

from steadygan.errors import UserError
from steadygan.nets.protocols import Mapped
from steadygan.objective.game import Game, TranslationGame

Builder = TypeVar("Builder", bound=Callable[..., object])

Need = Literal[
    "augmentation",
    "diffaugment",
    "latent",
    "uniform_prior",
    "mapping",
    "image_logit",
    "pixels",
    "second_scale",
    "labels",
    "separate_sides",
    "translation",
    "inverse",
    "pairs",
]


@dataclass(frozen=True)
class Declaration:
    """The declarations of one builder.

    Attributes:
        needs: requirements.
        needs_by_option: option -> value -> requirements.
        excludes: names of other terms, with the reason.
        rewrite: change of the game, before terms are built.
    """

    needs: tuple[Need, ...] = ()
    needs_by_option: Mapping[str, Mapping[Any, Need]] = field(default_factory=dict)
    excludes: Mapping[str, str] = field(default_factory=dict)
    rewrite: Callable[..., Game] | None = None


def declaration(builder: Callable[..., object]) -> Declaration:
    """The builder's declaration; empty without a decorator."""
    return getattr(builder, "declaration", Declaration())


def needs(*always: Need, **by_option: Mapping[Any, Need]) -> Callable[[Builder], Builder]:
    """Declares the requirements of a builder; see `_REASONS` for their meaning.

    by_option: requirements of values of an option, such as `target={"bare": "diffaugment"}`.

    Raises:
        ValueError: a requirement does not exist.
    """
    wanted = {*always, *(need for values in by_option.values() for need in values.values())}
    if unknown := wanted - _REASONS.keys():
        raise ValueError(f"needs: {', '.join(sorted(unknown))}: not one of {', '.join(_REASONS)}")
    return _declare(needs=always, needs_by_option=by_option)


def excludes(**terms: str) -> Callable[[Builder], Builder]:
    """Declares other terms that cannot be combined with a builder: `excludes(cr="bcr contains cr")`."""
    return _declare(excludes=terms)


def rewrites(rewrite: Callable[..., Game]) -> Callable[[Builder], Builder]:
    """Declares that a builder changes the game from which *all* terms are built, including its own.

    `rewrite(game, **options) -> game` gets the builder's options and runs before any builder. Only one of an
    objective's terms may change the fakes.
    """
    return _declare(rewrite=rewrite)


def check_together(builders: Mapping[str, Callable[..., object]]) -> None:
    """Raises `UserError` if one of the terms excludes another."""
    for builder in builders.values():
        for other, reason in declaration(builder).excludes.items():
            if other in builders:
                raise UserError(f"objective.terms: {reason}; remove one of them (objective.terms.{other}=null)")


def check_needs(name: str, builder: Callable[..., object], options: Mapping[str, Any], game: Game) -> None:
    """Checks that a game meets a term's requirements.

    Args:
        name: the term's name in the configuration.
        builder: its builder.
        options: its options by name.
        game: the game.

    Raises:
        UserError: it does not; the message names the term, the reason and the key to change.
    """
    for option, need in _needed(declaration(builder), options):
        if reason := _REASONS[need](game):
            raise UserError(f"objective.terms.{name}{option} {reason.format(term=f'objective.terms.{name}')}")


def _needed(declared: Declaration, options: Mapping[str, Any]) -> Iterator[tuple[str, Need]]:
    for need in declared.needs:
        yield "", need
    for option, by_value in declared.needs_by_option.items():
        if options[option] in by_value:
            yield f" ({option}={options[option]})", by_value[options[option]]


def _declare(**changes: Any) -> Callable[[Builder], Builder]:
    def mark(builder: Builder) -> Builder:
        builder.declaration = replace(declaration(builder), **changes)  # type: ignore[attr-defined]
        return builder

    return mark


def _uniform_prior(game: Game) -> str | None:
    if game.prior is None or game.prior.kind == "uniform":
        return None
    return "keeps latents inside [-1, 1]; set model.prior=uniform"


def _mapping(game: Game) -> str | None:
    if game.nets is None or isinstance(game.nets[game.fake.net], Mapped):
        return None
    return "needs a generator with a mapping network, which this one does not have; set model.kind=stylegan2"


@torch.no_grad()
def _pixels(game: Game) -> str | None:
    """Calls D on one grey image in evaluation mode, which does not change its state."""
    if game.nets is None:
        return None
    critic = game.nets[game.critic]
    shape = [getattr(critic, name) for name in ("channels", "size", "size")]
    x = next(critic.parameters()).new_zeros(1, *shape)
    y = torch.zeros(1, dtype=torch.int64, device=x.device) if game.conditional else None
    training = critic.training
    score = critic.eval()(x, y)
    critic.train(training)
    if score.pixels is not None:
        return None
    return "needs a discriminator that scores pixels; this one scores whole images only; set model.kind=unet"


def _second_scale(game: Game) -> str | None:
    if game.nets is None or hasattr(critic := game.nets[game.critic], "small"):
        return None
    if hasattr(getattr(critic, "plain", None), "small"):
        return "needs the discriminator by itself, without a pretrained network; set model.features=null"
    return "needs networks with a smaller second image; set model.kind=fastgan"


def _inverse(game: Game) -> str | None:
    if reason := _translation(game):
        return reason
    assert isinstance(game, TranslationGame)
    return None if game.inverse is not None else "needs the opposite direction too; set model.directions=[a2b, b2a]"


def _pairs(game: Game) -> str | None:
    if reason := _translation(game):
        return reason
    assert isinstance(game, TranslationGame)
    return None if game.aligned else "compares images of pairs; set data.domains=paired"


def _translation(game: Game) -> str | None:
    return (
        None
        if isinstance(game, TranslationGame)
        else "works only on translations between two domains; set data.domains"
    )


def _unless(present: Callable[[Game], bool], reason: str) -> Callable[[Game], str | None]:
    return lambda game: None if present(game) else reason


_REASONS: Mapping[Need, Callable[[Game], str | None]] = {
    "augmentation": _unless(
        lambda game: game.augment is not None,
        "compares an image with its augmentation, but augment.consistency is off; "
        "set augment.consistency.flip, .shift or .cutout above zero",
    ),
    "diffaugment": _unless(
        lambda game: game.pre_d is not None,
        "compares an image after DiffAugment with the image itself, but augment.diffaugment.policy is empty; "
        "name its policies",
    ),
    "latent": _unless(
        lambda game: not isinstance(game, TranslationGame),
        "works on a latent, which a translation does not have; remove it ({term}=null)",
    ),
    "uniform_prior": _uniform_prior,
    "mapping": _mapping,
    "image_logit": _unless(
        lambda game: not isinstance(game, TranslationGame),
        "needs one logit per image or pixel; a translation's discriminator has one per patch; remove it ({term}=null)",
    ),
    "pixels": _pixels,
    "second_scale": _second_scale,
    "labels": _unless(
        lambda game: game.prior is None or game.conditional, "needs images with labels; set model.conditional=true"
    ),
    "separate_sides": _unless(
        lambda game: game.loss.sides is not None,
        "scores each image separately, but this objective.loss compares reals with fakes; set objective.loss to "
        "non-saturating or hinge, or remove it ({term}=null)",
    ),
    "translation": _translation,
    "inverse": _inverse,
    "pairs": _pairs,
}
"""For each requirement, a function of the game: None if it is met, else the reason and the remedy ({term}: its key)."""
