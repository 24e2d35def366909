"""Grids of samples for pages, and single latents cut out of them."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from steadygan.errors import UserError
from steadygan.pictures.scale import enlarged, plain
from steadygan.pictures.stamp import KEY, Stamp, parse, read_stamp, saving

MOST_PIXELS = 64 << 20
CACHE = 48 << 20
THUMB_WIDTH = 640
"""A card's width in pixels on a high-density screen."""


class Damaged(Exception):
    """A file that is not an image, truncated, or too large."""


class Cache:
    """A thread-safe cache of the newest results, limited in bytes."""

    def __init__(self, size: int = CACHE) -> None:
        self._size, self._held = size, 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Any, bytes] = OrderedDict()

    def get(self, key: Any, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        made = make()
        with self._lock:
            if key not in self._entries and len(made) <= self._size // 4:
                self._entries[key] = made
                self._held += len(made)
                while self._held > self._size:
                    self._held -= len(self._entries.popitem(last=False)[1])
        return made


def open_sheet(path: Path) -> Image.Image:
    """Opens a grid, without names and enlargement. Raises `Damaged`."""
    try:
        with Image.open(path) as image:
            if image.format != "PNG" or image.width * image.height > MOST_PIXELS:
                raise Damaged(f"{path.name} is not a sheet of samples")
            image.load()
            stamp = parse(str(image.info.get(KEY)))
            return plain(image.copy() if image.mode in ("L", "RGB") else image.convert("RGB"), stamp)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Damaged(f"{path.name}: {error}") from None


def shape(image: Image.Image, side: int, gap: int) -> tuple[int, int] | None:
    """Columns and rows of a grid of square tiles of `side`; None if the size does not fit."""
    pitch = side + gap
    if side <= 0 or (image.width - gap) % pitch or (image.height - gap) % pitch:
        return None
    return (image.width - gap) // pitch, (image.height - gap) // pitch


def tile(image: Image.Image, index: int, side: int, gap: int) -> Image.Image:
    """Tile number `index`, row by row.

    Args:
        image: the grid.
        index: of the tile, from 0.
        side: of a tile in pixels.
        gap: between tiles in pixels.

    Raises:
        Damaged: there is no such tile.
    """
    found = shape(image, side, gap)
    if found is None or not 0 <= index < found[0] * found[1]:
        raise Damaged("this sheet has no such tile")
    left, top = (index % found[0]) * (side + gap) + gap, (index // found[0]) * (side + gap) + gap
    return image.crop((left, top, left + side, top + side))


def strip(paths: Sequence[Path], index: int, side: int, gap: int, *, across: int | None = None) -> Image.Image:
    """One latent over time: its tile in each grid, in a row; grey for unreadable grids.

    Args:
        paths: the grids, in order.
        index: of the latent, from 0.
        side: of a tile in pixels.
        gap: between tiles in pixels.
        across: tiles per row; None: all in one row.
    """
    across = across or len(paths)
    rows = -(-len(paths) // across)
    film = Image.new("RGB", (across * (side + gap) - gap, rows * (side + gap) - gap), "white")
    for place, path in enumerate(paths):
        try:
            frame = tile(open_sheet(path), index, side, gap)
        except Damaged:
            frame = Image.new("RGB", (side, side), "grey")
        film.paste(frame, ((place % across) * (side + gap), (place // across) * (side + gap)))
    return film


def film_stamp(paths: Sequence[Path], run: str, index: int | None = None) -> Stamp | None:
    """The stamp of a film of grids, or of one latent in them: the newest grid's stamp, with all steps.

    None if the newest grid has no stamp.
    """
    try:
        newest = read_stamp(paths[-1])
    except UserError:
        return None
    names = newest.column_names
    label = None if index is None or not names else index % len(names)
    latent = newest if index is None else newest.of(index, label, None if label is None else names[label])
    steps = [int(path.stem.removeprefix("step-")) for path in paths]
    arguments = {**newest.arguments, "steps": steps}
    film = replace(latent, call="film", checkpoint="", run=run, arguments=arguments)
    return replace(film, columns=None, named=False, enlarged=1, top=0)


def thumb(path: Path, side: int, gap: int) -> bytes:
    """The top left tiles of a grid, in about 5 : 2, as WebP of `THUMB_WIDTH`.

    Small tiles are enlarged without blur, so that they stay sharp when a page scales them down.
    """
    image = open_sheet(path)
    found = shape(image, side, gap)
    if found is not None:
        columns, rows = cut(*found)
        image = image.crop((gap, gap, columns * (side + gap), rows * (side + gap)))
    image = at_least(image.convert("RGB"), THUMB_WIDTH)
    if image.width > 1.5 * THUMB_WIDTH:
        height = max(1, round(image.height * THUMB_WIDTH / image.width))
        image = image.resize((THUMB_WIDTH, height), Image.Resampling.BOX)
    image = image.crop((0, 0, image.width, min(image.height, image.width)))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=82, method=2)
    return out.getvalue()


def cut(columns: int, rows: int) -> tuple[int, int]:
    """The columns and rows of a grid that a card shows, as close to 5 : 2 as possible."""
    choices = [(c, r) for c in range(1, min(columns, 10) + 1) for r in range(1, min(rows, 4) + 1)]
    return min(choices, key=lambda pair: (abs(pair[0] / pair[1] - 2.5), -pair[0]))


def at_least(image: Image.Image, least: int) -> Image.Image:
    """Enlarges by an integer factor, without blur, until the longer side has at least `least` pixels."""
    return enlarged(image, max(1, -(-least // max(image.size))))


def png(image: Image.Image, stamp: Stamp | None = None) -> bytes:
    """Encodes a stamped PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", **({} if stamp is None else saving(stamp, "PNG")))
    return out.getvalue()


def picked(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` evenly spaced steps, both ends included."""
    if len(steps) <= count:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / max(1, count - 1))] for i in range(count)]
