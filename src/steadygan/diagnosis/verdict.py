"""The verdict on a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "fine",
    "memorises",
    "ignores images",
    "mode collapse",
    "augmentations leak",
    "nothing is learnt",
    "diverging",
    "cannot tell",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Advice:
    """A key of the configuration, the value to give it, and why. `value` as it is written in an override."""

    key: str
    value: Any
    why: str

    def override(self) -> str:
        """`key=value`, as `steadygan train` takes it."""
        return f"{self.key}={_written(self.value)}"


@dataclass(frozen=True)
class Verdict:
    """One sentence on a run, with its evidence.

    numbers: what was measured, by the name it has in the records. since_step: from when on it has been so, None where
    that has no meaning. advice: what to change, the most promising first.
    """

    kind: Kind
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    since_step: int | None = None
    advice: tuple[Advice, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        advice = [{"key": a.key, "value": a.value, "why": a.why, "override": a.override()} for a in self.advice]
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "numbers": dict(self.numbers),
            "since_step": self.since_step,
            "advice": advice,
        }


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
