"""The progress bars of training."""

from __future__ import annotations

from collections.abc import Iterator

from rich import progress as bars
from rich.console import Console, RenderableType
from rich.text import Text


class TrainingBars(bars.Progress):
    """One row per task, with its count and a note; below them the path of the newest sample grid.

    Drawn only on a terminal; `disable` is true elsewhere.
    """

    newest = ""

    def __init__(self, console: Console) -> None:
        super().__init__(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=None),
            bars.TextColumn("{task.fields[count]}"),
            bars.TextColumn("{task.fields[note]}"),
            console=console,
            disable=console.quiet or not console.is_terminal,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.newest:
            yield Text(self.newest)
