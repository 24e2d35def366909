"""Pictures of a run on the user's images: D's inputs, and a film of the samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from steadygan.data.images import ImageSet
from steadygan.files import make_folder, write_whole
from steadygan.pictures.animation import save_animation
from steadygan.pictures.grid import draw
from steadygan.pictures.pixels import to_float, to_uint8
from steadygan.pictures.scale import enlarged, enlargement, plain
from steadygan.pictures.stamp import KEY, parse
from steadygan.tasks.images import Images
from steadygan.training.state import TrainState

ROWS, MOST_COLUMNS = 6, 10
FILM_WIDTH = 480
FRAMES, LAST_FRAMES, FRAMES_A_SECOND = 60, 8, 8


def save_reals(path: Path, state: TrainState, images: Images) -> list[Path]:
    """Writes samples/reals.png, training images as cropped and resized, and samples/augmented.png, the same after
    augmentation.

    Columns are classes, up to ten, if there are labels. The run's random states do not change. Without augmentation
    there is no second file. Returns the files written.
    """
    train = images.train
    assert isinstance(train, ImageSet)
    chosen, columns, names = _chosen(train, ROWS, known=state.objective.prior.label_pool is not None)
    reals = train.take(chosen)
    make_folder(path / "samples", path)
    sheets = {"reals": reals}
    if state.objective.pre_d is not None:
        generator = torch.Generator(state.device).manual_seed(0)
        sheets["augmented"] = to_uint8(state.objective.pre_d(to_float(reals), generator))
    written = []
    for name, pixels in sheets.items():
        sheet = draw(pixels, columns, names, times=enlargement(train.size, columns))
        file = path / "samples" / f"{name}.png"
        write_whole(file, partial(sheet.save, format="PNG"))
        written.append(file)
    return written


def save_film(path: Path) -> Path | None:
    """Writes samples/film.gif from a run's grids, with the last one shown for a second.

    Returns None if there are fewer than two grids.
    """
    sheets = sorted((path / "samples").glob("step-*.png"))
    if len(sheets) < 2:
        return None
    chosen = np.unique(np.linspace(0, len(sheets) - 1, min(FRAMES, len(sheets))).round().astype(int))
    frames = []
    for index in chosen.tolist():
        with Image.open(sheets[index]) as sheet:
            frame = plain(sheet.convert("RGB"), parse(str(sheet.info.get(KEY))))
        frames.append(enlarged(frame, max(1, round(FILM_WIDTH / frame.width))))
    frames = [frame for frame in frames if frame.size == frames[-1].size]
    film = path / "samples" / "film.gif"
    return save_animation([*frames, *frames[-1:] * LAST_FRAMES], film, fps=FRAMES_A_SECOND)


def _chosen(train: ImageSet, rows: int, *, known: bool) -> tuple[Tensor, int, list[str]]:
    """Indices of training images, row by row, the number of columns, and their class names, if any."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(train), generator=generator)
    if not known or train.labels is None:
        columns = 8
        return order[: rows * columns], columns, []
    labels = train.labels.cpu()[order]
    present = [label for label in range(len(train.class_names)) if bool((labels == label).any())][:MOST_COLUMNS]
    of_class = [order[labels == label] for label in present]
    chosen = torch.stack([own[torch.arange(rows) % len(own)] for own in of_class], 1).flatten()
    return chosen, len(present), [train.class_names[label] for label in present]
