"""Reads and validates the table of rules."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Justified(Row):
    because: str
    source: str


class Hours(Justified):
    value: Annotated[float, Field(gt=0)]


class Network(Justified):
    """Networks of one size, used if D can be shown at least `needs` images in the time.

    Attributes:
        needs: None: used only if that size is asked for.
        latent: for BigGAN with classes, a multiple of the chunks that its blocks divide it into.
        gain: `sn_gain` of the critic.
        classes: whether they are for runs that learn classes, or for others.
    """

    size: int
    kind: str
    width: int
    latent: int
    gain: float
    needs: int | None
    classes: bool


class Setting(Row):
    """An override and its name in the plan."""

    key: str
    value: str
    title: str


class Kind(Justified):
    """Settings of a kind that the user names; `because` is the reason of each.

    width: as a share of the width of the row of its size.
    """

    sizes: tuple[int, ...]
    width: float
    settings: tuple[Setting, ...]


class Batch(Justified):
    device: Literal["cpu", "cuda"]
    value: int


class Classes(Justified):
    most: int
    fewest_images: int
    otherwise: str


class Flip(Justified):
    below: float
    otherwise: str


class HeldOut(Row):
    """Below `fewest` images none is held out, nor above a share of `most_duplicates`; with the reasons."""

    fewest: int
    few: str
    most_duplicates: float
    duplicated: str
    source: str


class Policy(Justified):
    value: str


class Augment(Row):
    """The policy, for colour or grey images, if each image is shown to D more than `passes` times."""

    passes: int
    colour: Policy
    grey: Policy
    otherwise: str
    source: str


class Schedule(Justified):
    decay_from: float


class Average(Justified):
    half_life: float
    start: float


class Expectation(Row):
    """The expected outcome if D is shown `share` times the images that the chosen network needs.

    smallest: what to say instead where images cannot be made smaller.
    """

    share: float
    words: str
    smallest: str = ""


class FewImages(Row):
    below: int
    words: str


class Rules(Row):
    """recipes/rules.yaml."""

    hours: dict[str, Hours]
    networks: tuple[Network, ...]
    kinds: dict[str, Kind]
    batches: tuple[Batch, ...]
    classes: Classes
    held_out: HeldOut
    flip: Flip
    features: Policy
    augment: Augment
    regulariser: Justified
    optimiser: Justified
    schedule: Schedule
    average: Average
    expect: tuple[Expectation, ...]
    few_images: FewImages


@cache
def rules() -> Rules:
    """The package's table."""
    text = resources.files("steadygan").joinpath("recipes", "rules.yaml").read_text(encoding="utf-8")
    return Rules.model_validate(yaml.safe_load(text))
