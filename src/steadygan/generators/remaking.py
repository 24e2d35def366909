"""Reproduces images from the provenance stamped into their files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from steadygan._version import __version__
from steadygan.errors import UserError, command_line
from steadygan.generators.classes import place_of
from steadygan.generators.generator import Generator
from steadygan.pictures.grid import WIDEST
from steadygan.pictures.stamp import Stamp
from steadygan.runs.checkpoint import (
    MANIFEST,
    WEIGHTS,
    checkpoint_name,
    checkpoint_step,
    checkpoints,
    weights_digest,
)

DEPTH = 6
BATCH = 64
"""Batch size of `Generator.sample`; remaking uses the same, for bit-exact images."""


def stamp_for(generator: Generator, weights: str, call: str, arguments: dict[str, Any], **more: Any) -> Stamp:
    """The stamp of images from `generator.CALL(**arguments)`.

    Args:
        generator: the generator that made them.
        weights: "ema" or "raw".
        call: the method's name.
        arguments: the call's arguments; None values are omitted.
        more: further fields of `Stamp`.
    """
    return Stamp(
        steadygan=__version__,
        checkpoint=weights_digest(generator.path),
        run=more.pop("run", generator.run),
        step=generator.step,
        weights=weights,
        call=call,
        arguments={key: value for key, value in arguments.items() if value is not None},
        **more,
    )


def label_of(generator: Generator, classes: Any, index: int) -> tuple[int | None, str | None]:
    """Number and name of the class of image `index` if `classes` (None: all) are used in turn."""
    if not generator.classes:
        return None, None
    chosen = list(generator.trained_classes) if classes is None else classes if isinstance(classes, list) else [classes]
    entry = chosen[index % len(chosen)]
    names = generator.class_names
    place = place_of(entry, names) if isinstance(entry, str) else None
    label = int(entry) if place is None else place
    return label, names[label] if label < len(names) else None


def class_names(generator: Generator, classes: Any, count: int) -> list[str]:
    """The class names of the first `count` images, from `label_of`."""
    labels = [label_of(generator, classes, index) for index in range(count)]
    return [str(number) if name is None else name for number, name in labels]


def column_names(stamp: Stamp, generator: Generator) -> list[str]:
    """Column headings of the grid described by a stamp; empty if a column has several classes."""
    if not generator.classes or stamp.columns is None or stamp.call not in ("sample", "from_seeds"):
        return []
    classes = stamp.arguments.get("classes")
    every = len(classes if isinstance(classes, list) else generator.trained_classes)
    return class_names(generator, classes, every) if 2 <= every <= WIDEST and stamp.columns % every == 0 else []


def remake(stamp: Stamp, generator: Generator) -> Tensor:
    """Reproduces the images (N, C, H, W) uint8 of a stamp: a single one if it has an index, else all of the call.

    Raises:
        UserError: the generator has other weights, or the stamp's arguments do not fit it.
    """
    if weights_digest(generator.path) != stamp.checkpoint:
        raise UserError(
            f"{generator.path} is not the checkpoint that made this image; search another directory with --runs"
        )
    arguments = dict(stamp.arguments)
    try:
        if stamp.call == "sample" and stamp.index is not None:
            first = stamp.index // BATCH * BATCH
            images = generator.sample(**arguments, part=slice(first, first + BATCH))
            return images[stamp.index - first : stamp.index - first + 1]
        images = getattr(generator, stamp.call)(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"the stamp does not fit this version of steadygan: {error}") from error
    images = images.flatten(0, 1) if stamp.call == "interpolate" else images
    if stamp.index is not None and stamp.index >= len(images):
        raise UserError(f"the stamp has image index {stamp.index}, but the call makes {len(images)}")
    return images if stamp.index is None else images[stamp.index : stamp.index + 1]


def run_of(image: Path, runs: Path, stamp: Stamp) -> Path | None:
    """The run directory of a grid: the one that contains it, or the run of that name below `runs`; None if there is
    none."""
    for place in (image.parent.parent, runs / stamp.run, Path(stamp.run)):
        if (place / "config.yaml").is_file():
            return place
    return None


def check(stamp: Stamp, run: Path | None = None) -> None:
    """Checks that images can be reproduced from a stamp.

    Args:
        stamp: the image's stamp.
        run: its run directory, if known.

    Raises:
        UserError: the images are from a step without a checkpoint, from several steps, or contain data.
    """
    place = run or stamp.run
    if stamp.call == "film":
        raise UserError(
            f"this shows grids of many steps of {stamp.run}, up to step {stamp.step}; each grid says what made it: "
            f"`{command_line('remake', f'{place}/samples/step-{stamp.step:08d}.png')}`"
        )
    if stamp.call in ("sheet", "translate"):
        raise UserError(
            f"this image of {stamp.run} contains images of the data, which no seed can reproduce; "
            f"`{command_line('translate')}` makes more"
        )
    if not stamp.checkpoint:
        seed, num = stamp.arguments.get("seed", 0), stamp.arguments.get("num", 64)
        classes = ",".join(map(str, stamp.arguments.get("classes", [])))
        steps = [] if run is None else [checkpoint_step(path) for path in checkpoints(run / "checkpoints")]
        nearest = checkpoint_name(min(steps, key=lambda step: abs(step - stamp.step))) if steps else "step-…"
        options = ["--num", num, "--seed", seed, *(["--classes", classes] if classes else [])]
        raise UserError(
            f"this grid is of step {stamp.step} of {stamp.run}, between two checkpoints: the weights that made it were "
            "not kept, and it cannot be made again. The same latents at a checkpoint: "
            f"`{command_line('sample', f'{place}/checkpoints/{nearest}', *options)}`"
        )


def find_weights(digest: str, places: Iterable[Path]) -> Path:
    """Finds the checkpoint below these places whose weights have this SHA-256.

    Raises:
        UserError: there is none.
    """
    searched = [place for place in places if place.is_dir()]
    for place in searched:
        root = os.path.abspath(place).rstrip(os.sep)
        for folder, below, files in os.walk(root):
            if folder.count(os.sep) - root.count(os.sep) >= DEPTH:
                below.clear()
            below[:] = sorted(name for name in below if not name.startswith("."))
            if MANIFEST in files and _digest(Path(folder) / MANIFEST) == digest:
                return Path(folder)
    told = ", ".join(map(str, searched)) or "nowhere"
    raise UserError(
        f"no checkpoint with the weights {digest[:12]}… was found below {told}; name the run's directory with --runs"
    )


def _digest(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["sha256"][WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
