"""The trackers by name, each with its own library. Custom ones are `module:NAME`.

Each is called from one thread, not the main one, and may raise any exception without affecting training.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from steadygan.errors import UserError, require
from steadygan.options import find

PROJECT = "steadygan"


class Tracker(Protocol):
    """The interface of trackers. Steps increase, except for scores of earlier checkpoints."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends finite numbers of one step by name."""

    def image(self, step: int, name: str, path: Path) -> None:
        """Sends an image of one step, a PNG file."""

    def facts(self, name: str, values: Mapping[str, Any]) -> None:
        """Sends plain values under a name, such as a protocol."""

    def rewind(self, step: int) -> bool:
        """Drops everything after `step` after a rollback; returns False if not supported."""

    def flush(self) -> None:
        """Makes sent data persistent."""

    def close(self) -> None:
        """Closes the tracker; the last call."""


Open = Callable[[Path, str, Mapping[str, Any]], Tracker]
"""Opens a tracker for a run: (run directory, identity, configuration). The identity never changes."""


class TensorBoard:
    """Event files in `RUN/tensorboard`, by `torch.utils.tensorboard`."""

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        self._folder = str(run / "tensorboard")
        self._open()
        self.facts("configuration", config)

    def _open(self, purge_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(self._folder, purge_step=purge_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, path: Path) -> None:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def facts(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
        self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()))

    def rewind(self, step: int) -> bool:
        """Readers of the files drop earlier entries after the step."""
        self._writer.close()
        self._open(purge_step=step + 1)
        return True

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run in the project `WANDB_PROJECT` (default "steadygan"), with files in `RUN/wandb`.

    Weights & Biases accepts each step once, so repeated steps keep their first values.
    """

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        import wandb

        self._library = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.resolve().name,
            id=identity,
            resume="allow",
            dir=str(run),
            config=dict(config),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def image(self, step: int, name: str, path: Path) -> None:
        self._run.log({"step": step, name: self._library.Image(str(path), caption=f"step {step}")})

    def facts(self, name: str, values: Mapping[str, Any]) -> None:
        self._run.config.update({name: dict(values)}, allow_val_change=True)

    def rewind(self, step: int) -> bool:
        return False

    def flush(self) -> None:
        """Does nothing: wandb's own process persists data."""

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """A run in the local project `TRACKIO_PROJECT` (default "steadygan"), stored where the library chooses.

    Repeated steps keep their first values too.
    """

    def __init__(self, run: Path, identity: str, config: Mapping[str, Any]) -> None:
        import trackio

        self._library = trackio
        self._run: Any = trackio.init(
            os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{run.resolve().name}-{identity}",
            config=dict(config),
            resume="allow",
            embed=False,
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, path: Path) -> None:
        self._run.log({name: self._library.Image(str(path), caption=f"step {step}")}, step=step)

    def facts(self, name: str, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
        self._run.log({name: self._library.Markdown(f"```json\n{text}\n```")}, step=0)

    def rewind(self, step: int) -> bool:
        return False

    def flush(self) -> None:
        """Does nothing: lines are written immediately."""

    def close(self) -> None:
        self._run.finish()


CLIENTS: Mapping[str, Open] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}


def check(names: Sequence[str], *, where: str = "train.report") -> None:
    """Checks before training that these trackers can be used.

    Raises:
        UserError: a name is unknown, a library is not installed, or wandb has no key to log in with.
    """
    for name in names:
        open_by_name(name, where=where)
        if name in CLIENTS:
            require(name, name, f"{where}=[{name}]")
    if "wandb" in names:
        _check_login()


def open_by_name(name: str, *, where: str = "train.report") -> Open:
    """The function that opens the tracker of this name. Raises `UserError` if there is none."""
    found: Open = find(name, CLIENTS, where=where, noun="tracker")
    return found


def _check_login() -> None:
    """Without a key, wandb would prompt for one during training."""
    import wandb

    if wandb.setup().settings.mode in ("online", "shared", None) and not wandb.login(prompt=False, verify=False):
        raise UserError("wandb is not logged in: `wandb login`, or WANDB_MODE=offline to keep the run on this machine")
