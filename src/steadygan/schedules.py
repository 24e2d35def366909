"""Schedules: numbers that change during training. Constant, linear or cosine, with warm-up.

Learning rates, Adam's betas, the half-life of the average, the weight of any term and ADA's probability may each be a
number or a schedule, written in YAML as `{shape: cosine, start: 2.0e-4, end: 5.0e-5, steps: 40000}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from steadygan.errors import in_words


class Schedule(BaseModel):
    """A number as a function of the training step (from 0).

    `start` until step `delay`, then to `end` over `steps` steps with the given `shape`, then `end`. A constant has no
    end. During the first `warmup` steps the value rises linearly from start/warmup to `start`. Raises ValidationError
    for an inconsistent schedule.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="shape of the change from start to end"
    )
    start: float = Field(description="the value until step `delay`")
    end: float | None = Field(None, description="the value after delay + steps; a constant has none")
    steps: Annotated[int, Field(gt=0)] | None = Field(None, description="training steps from start to end")
    delay: Annotated[int, Field(ge=0)] = Field(0, description="training steps before the change begins")
    warmup: Annotated[int, Field(ge=0)] = Field(0, description="training steps in which the value rises to start")

    @model_validator(mode="after")
    def _check(self) -> Schedule:
        if (self.shape == "constant") != (self.end is None and self.steps is None):
            raise ValueError("linear and cosine need end and steps, constant has neither")
        if self.warmup > self.delay and self.shape != "constant":
            raise ValueError(f"the warm-up must be over when the decay begins; set delay to at least {self.warmup}")
        return self

    def value(self, step: int) -> float:
        """The number in training step `step`."""
        if step < self.warmup:
            return self.start * (step + 1) / self.warmup
        if self.end is None or self.steps is None or step <= self.delay:
            return self.start
        left = (self.delay + self.steps - step) / self.steps
        if left <= 0:
            return self.end
        if self.shape == "cosine":
            left = 0.5 * (1 - math.cos(math.pi * left))
        return self.end + (self.start - self.end) * left

    def __format__(self, spec: str) -> str:
        """Formats the first and the last value: `2 → 0.2`."""
        first = format(self.start, spec)
        return first if self.end is None else f"{first} → {format(self.end, spec)}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        ends = [self.start, self.start if self.end is None else self.end]
        if self.warmup:
            ends.append(self.start / self.warmup)
        return min(ends), max(ends)


def value(number: float | Schedule, step: int) -> float:
    """The number in training step `step` (from 0)."""
    return number.value(step) if isinstance(number, Schedule) else number


def _reader(
    *, above: float = -math.inf, least: float = -math.inf, below: float = math.inf, most: float = math.inf
) -> Callable[[Any], Any]:
    """Makes a validator for a number or schedule within bounds; a schedule may reach `above`."""

    def read(given: Any) -> float | Schedule:
        if isinstance(given, Mapping):
            try:
                given = Schedule.model_validate(given)
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise ValueError(f"schedule: {key}{': ' if key else ''}{in_words(first['msg'])}") from None
        if isinstance(given, Schedule):
            low, high = given.bounds
            inside = low >= above
        else:
            if isinstance(given, str):
                given = _parsed(given)
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise ValueError("must be a number or a schedule such as {shape: cosine, start: 1, end: 0, steps: 900}")
            given = low = high = float(given)
            inside = low > above
        if not (inside and least <= low and high < below and high <= most):
            limits = {"above": above, "at least": least, "below": below, "at most": most}
            raise ValueError("must be " + " and ".join(f"{k} {v:g}" for k, v in limits.items() if math.isfinite(v)))
        return given

    return read


def _parsed(text: str) -> float | str:
    """Parses numbers such as 2e-4, which YAML reads as a string."""
    try:
        return float(text)
    except ValueError:
        return text


def _plain(number: float | Schedule) -> float | dict[str, Any]:
    """Converts to the form in a configuration."""
    return number.model_dump(exclude_defaults=True) if isinstance(number, Schedule) else number


_AS_WRITTEN = PlainSerializer(_plain, return_type=Any)

Weight = Annotated[float | Schedule, PlainValidator(_reader()), _AS_WRITTEN]
"""The weight of a term."""
Rate = Annotated[float | Schedule, PlainValidator(_reader(above=0)), _AS_WRITTEN]
"""A learning rate or a half-life."""
Beta = Annotated[float | Schedule, PlainValidator(_reader(least=0, below=1)), _AS_WRITTEN]
"""A decay rate of Adam."""
Probability = Annotated[
    float | Schedule, PlainValidator(_reader(least=0, most=1)), PlainSerializer(_plain, return_type=Any)
]
"""A probability that may be scheduled."""
