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
    """A key of the configuration, a new value, and the reason. `value` is in override syntax."""

    key: str
    value: Any
    why: str

    def override(self) -> str:
        """`key=value` for `steadygan train`."""
        return f"{self.key}={_written(self.value)}"


@dataclass(frozen=True)
class Verdict:
    """A one-sentence verdict with its evidence.

    Attributes:
        numbers: measurements, by their name in the records.
        since_step: step since which the verdict holds, None if not applicable.
        advice: settings to change, most promising first.
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
