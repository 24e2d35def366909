"""The sample grids of a run, stamped with their provenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from steadygan._version import __version__
from steadygan.pictures.grid import save_grid
from steadygan.pictures.stamp import Stamp, read_stamp, restamp
from steadygan.runs.checkpoint import WEIGHTS, read_manifest
from steadygan.runs.directory import Writer
from steadygan.training.monitor import Monitor
from steadygan.training.state import TrainState


def draw_grid(run: Writer, state: TrainState, monitor: Monitor) -> Path:
    """Writes the grid of this step; returns its path.

    Raises:
        UserError: it cannot be written.
    """
    images, columns = monitor.preview(state)
    run.make_folders()
    stamp = stamp_of_grid(run.path, state.step, monitor, columns)
    return save_grid(images, grid_path(run, state.step), columns, stamp, stamp.column_names)


def grid_path(run: Writer, step: int) -> Path:
    """The path of a step's grid."""
    return run.samples / f"step-{step:08d}.png"


def stamp_of_grid(run: Path, step: int, monitor: Monitor, columns: int) -> Stamp:
    """Provenance of a grid when it is drawn. The checkpoint's hash is missing: if there is one, it is written later.

    Args:
        run: the run directory.
        step: of the grid.
        monitor: describes the images.
        columns: of the grid.
    """
    arguments = {key: value for key, value in monitor.call().items() if value is not None}
    names = monitor.generator.get("class_names") or []
    shown = [names[label] if label < len(names) else str(label) for label in arguments.get("classes", [])]
    return Stamp(
        steadygan=__version__,
        checkpoint="",
        run=run.resolve().name,
        step=step,
        weights="ema",
        call="sample" if arguments else "sheet",
        arguments=arguments,
        columns=columns,
        column_names=tuple(shown) if len(shown) == columns else (),
    )


def name_weights(run: Writer, step: int, checkpoint: Path) -> None:
    """Writes the SHA-256 of a checkpoint's weights into the grid of its step, if that grid exists.

    Raises:
        UserError: the grid cannot be read or written.
    """
    path = grid_path(run, step)
    if path.is_file():
        digest = str(read_manifest(checkpoint, ())["sha256"][WEIGHTS])
        restamp(path, replace(read_stamp(path), checkpoint=digest))
