"""Operations of the process that generates images. Paths come from the server's table of runs, never from a page."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from steadygan.errors import UserError
from steadygan.exporting import export
from steadygan.files import zip_entry
from steadygan.generators.generator import Generator
from steadygan.generators.remaking import label_of, stamp_for
from steadygan.machine import choose_device
from steadygan.pictures.animation import save_animation
from steadygan.pictures.grid import grid, to_pil
from steadygan.pictures.scale import enlarged
from steadygan.pictures.stamp import SIDECAR, Stamp, sidecar
from steadygan.studio.reals import Reals
from steadygan.studio.sheets import Damaged, at_least, film_stamp, open_sheet, png, strip
from steadygan.studio.translations import Translations, raw
from steadygan.studio.words import shown

Answer = tuple[dict[str, Any], bytes]

KEPT = 3
"""Maximum number of loaded generators."""


class Operations:
    """Answers requests for images of checkpoints; caches the most recently used generators."""

    def __init__(self, device: str) -> None:
        self.device = choose_device(device)
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
        self._generators: OrderedDict[tuple[str, str], Generator] = OrderedDict()
        self.reals = Reals(self.device)
        self.translations = Translations(self.device)

    def generator(self, checkpoint: str, weights: str) -> Generator:
        key = checkpoint, weights
        if key not in self._generators:
            while len(self._generators) >= KEPT:
                self._generators.popitem(last=False)
            self._generators[key] = Generator(Path(checkpoint), self.device, cast(Any, weights))
        self._generators.move_to_end(key)
        return self._generators[key]

    def describe(self, checkpoint: str, weights: str = "ema") -> Answer:
        """The properties of a generator."""
        generator = self.generator(checkpoint, weights)
        return {
            "size": generator.size,
            "channels": generator.channels,
            "classes": generator.classes,
            "class_names": list(map(shown, generator.class_names)),
            "trained_classes": list(generator.trained_classes),
            "latent": generator.latent,
            "licence": generator.licence,
            "device": str(self.device),
        }, b""

    def seeds(
        self,
        checkpoint: str,
        weights: str,
        seeds: Sequence[int],
        classes: Sequence[int] | None = None,
        truncation: float | None = None,
        moves: Sequence[tuple[int, float]] = (),
        draft: bool = False,
    ) -> Answer:
        """One image per seed, as raw bytes (N, H, W, C).

        Args:
            checkpoint: its path.
            weights: "ema" or "raw".
            seeds: one per image.
            classes: numbers, used in turn; None: all in turn.
            truncation: see `Generator.sample`.
            moves: (seed of a direction, distance) pairs.
            draft: use available batch-norm statistics of the nearest truncation.
        """
        generator = self.generator(checkpoint, weights)
        images = generator.from_seeds(
            seeds, classes=classes if generator.classes else None, truncation=truncation, moves=moves, draft=draft
        )
        return raw(images)

    def walk(
        self,
        checkpoint: str,
        weights: str,
        seeds: Sequence[int],
        steps: int,
        classes: Sequence[int] | None = None,
        truncation: float | None = None,
    ) -> Answer:
        """A walk through the seeds, as raw bytes (N, H, W, C).

        Args:
            checkpoint: its path.
            weights: "ema" or "raw".
            seeds: two or more.
            steps: images from one seed to the next.
            classes: numbers, used in turn; None: all in turn.
            truncation: see `Generator.sample`.
        """
        generator = self.generator(checkpoint, weights)
        return raw(generator.walk(seeds, steps, classes=classes if generator.classes else None, truncation=truncation))

    def download(
        self,
        checkpoint: str,
        weights: str,
        run: str,
        kind: str,
        seeds: Sequence[int],
        steps: int = 0,
        classes: Sequence[int] | None = None,
        truncation: float | None = None,
        moves: Sequence[tuple[int, float]] = (),
        scale: int = 1,
    ) -> Answer:
        """A stamped file: `png` (one image or a grid), `zip` (a folder), `gif`, `webp` or `mp4`.

        Args:
            checkpoint: its path.
            weights: "ema" or "raw".
            run: name of the run, for the stamp.
            kind: png, zip, gif, webp or mp4.
            seeds: of the images, or of a walk for animations.
            steps: images of a walk from one seed to the next.
            classes: numbers, used in turn; None: all in turn.
            truncation: see `Generator.sample`.
            moves: (seed of a direction, distance) pairs.
            scale: integer factor of enlargement.
        """
        generator = self.generator(checkpoint, weights)
        classes = classes if generator.classes else None
        walking = kind in ("gif", "webp", "mp4")
        arguments: dict[str, Any] = {"seeds": list(seeds), "classes": classes, "truncation": truncation}
        if walking:
            arguments["steps"] = steps
            frames = generator.walk(seeds, steps, classes=classes, truncation=truncation)
        else:
            # One at a time, so that each image is bit-exact independently of the others.
            arguments |= {"moves": [list(move) for move in moves], "batch_size": 1}
            frames = generator.from_seeds(**arguments)
        columns = 1 if len(seeds) == 1 else round(len(seeds) ** 0.5)
        stamp = stamp_for(
            generator,
            weights,
            "walk" if walking else "from_seeds",
            arguments,
            run=run,
            columns=None if walking or len(seeds) == 1 else columns,
        )
        if walking:
            return {}, film([to_pil(image) for image in frames], kind, stamp, scale=scale)
        if kind == "zip":
            return {}, _folder(frames, stamp, generator)
        if len(seeds) == 1:
            return {}, png(to_pil(frames[0]), stamp.of(0, *label_of(generator, classes, 0)))
        return {}, png(grid(frames, columns), stamp)

    def sheets_film(
        self,
        paths: Sequence[str],
        run: str,
        kind: str,
        index: int | None,
        side: int,
        gap: int,
        fps: float = 8,
    ) -> Answer:
        """An animation, GIF, WebP or MP4, of grids or of one latent in them.

        Args:
            paths: the grids, in order.
            run: name of the run, for the stamp.
            kind: gif, webp or mp4.
            index: of the latent; None: whole grids.
            side: of a tile in pixels.
            gap: between tiles in pixels.
            fps: frames per second.

        Raises:
            UserError: no grid can be read.
        """
        frames = []
        for path in paths:
            try:
                frame = open_sheet(Path(path)) if index is None else strip([Path(path)], index, side, gap)
            except Damaged:
                continue
            frames.append(at_least(frame, 256) if index is not None else frame)
        if not frames:
            raise UserError("none of these sheets can be read")
        frames = [frame.convert("RGB") for frame in frames if frame.size == frames[-1].size]
        return {}, film(frames, kind, film_stamp([Path(path) for path in paths], run, index), fps=fps)

    def export(self, checkpoint: str, to: str) -> Answer:
        """Exports the averaged generator to a single-file target of `exporting.TARGETS`."""
        with tempfile.TemporaryDirectory() as folder:
            return {}, Path(export(checkpoint, to, Path(folder) / "generator")).read_bytes()


def operations_on(device: str) -> dict[str, Callable[..., Answer]]:
    """Operations by name."""
    operations = Operations(device)

    def neighbours(checkpoint: str, weights: str, **arguments: Any) -> Answer:
        return operations.reals.neighbours(operations.generator(checkpoint, weights), **arguments)

    return {
        "hello": lambda: ({}, b""),
        "describe": operations.describe,
        "seeds": operations.seeds,
        "walk": operations.walk,
        "download": operations.download,
        "sheets_film": operations.sheets_film,
        "export": operations.export,
        "neighbours": neighbours,
        "folder": operations.reals.folder,
        "preview": operations.reals.preview,
        "translator": operations.translations.describe,
        "translate_own": operations.translations.own,
        "translate_given": operations.translations.given,
    }


def film(frames: Sequence[Image.Image], kind: str, stamp: Stamp | None, *, fps: float = 12, scale: int = 1) -> bytes:
    """Encodes frames, enlarged by an integer factor, as an animation.

    Args:
        frames: of equal size.
        kind: gif, webp or mp4.
        stamp: provenance, written into the file; None: no stamp.
        fps: frames per second.
        scale: integer factor of enlargement.
    """
    if scale > 1:
        frames = [enlarged(frame, scale) for frame in frames]
    with tempfile.TemporaryDirectory() as folder:
        return save_animation(frames, Path(folder) / f"film.{kind}", fps=fps, stamp=stamp).read_bytes()


def _folder(images: Tensor, stamp: Stamp, generator: Generator) -> bytes:
    stamps = {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for index, (seed, image) in enumerate(zip(stamp.arguments["seeds"], images, strict=True)):
            name = f"{index:04d}-seed-{seed}.png"
            stamps[name] = stamp.of(index, *label_of(generator, stamp.arguments.get("classes"), index))
            archive.writestr(zip_entry(name), png(to_pil(image), stamps[name]))
        archive.writestr(zip_entry(SIDECAR), sidecar(stamps))
    return out.getvalue()
