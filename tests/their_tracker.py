"""A tracker from outside the package, which records its calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

CALLS: list[tuple[Any, ...]] = []
"""What all trackers of this process were handed, in order; a test empties it."""


class Recorder:
    """Cannot take anything back."""

    rewinds = False

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        CALLS.append(("open", run.name, identity, config.get("name")))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        CALLS.append(("scalars", step, dict(values)))

    def image(self, step: int, name: str, path: Path) -> None:
        CALLS.append(("image", step, path.name))

    def facts(self, name: str, values: Mapping[str, Any]) -> None:
        CALLS.append(("facts", name, dict(values)))

    def rewind(self, step: int) -> bool:
        CALLS.append(("rewind", step))
        return self.rewinds

    def flush(self) -> None:
        CALLS.append(("flush",))

    def close(self) -> None:
        CALLS.append(("close",))


class Rewinder(Recorder):
    """Takes back what a run forgot."""

    rewinds = True


class Broken(Recorder):
    """Fails at the third line, as a library does whose server is gone."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if step == 3:
            raise ConnectionError("no route to host\nand a long story")
        super().scalars(step, values)


def steps() -> list[int]:
    """The steps of the lines that were sent, without scores."""
    return [call[1] for call in CALLS if call[0] == "scalars" and "images" in call[2]]
