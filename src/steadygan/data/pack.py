"""`steadygan data pack`: converts any source to one StyleGAN-style zip."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from steadygan.data.decoding import MAX_UNREADABLE, UnreadableImage, check_unreadable
from steadygan.data.labels import MANIFEST
from steadygan.data.ordered import THREADS, in_order
from steadygan.data.source import Source
from steadygan.errors import UserError
from steadygan.files import write_whole, zip_entry
from steadygan.pictures.grid import to_pil

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 6},
    "webp": {"lossless": True, "quality": 75, "method": 4},
}


@dataclass(frozen=True)
class Packed:
    """The result of packing: number of images in the zip, and unreadable ones by name and reason."""

    count: int
    bytes: int
    unreadable: dict[str, str]


def pack(
    source: Source,
    out: Path,
    *,
    crop: Literal["center", "none"] = "center",
    format: Literal["png", "webp"] = "png",
    force: bool = False,
    max_unreadable: float = MAX_UNREADABLE,
    progress: Callable[[int, int], None] | None = None,
    threads: int = THREADS,
) -> Packed:
    """Writes the images of a source into a zip: `00000/img00000000.png` …, `dataset.json` (labels, classes).

    The zip is byte-for-byte reproducible for a given version of Pillow, with any number of threads. It is written
    atomically.

    Args:
        source: the images, with their size in pixels.
        out: the zip to write.
        crop: `center` crops as training does, so that the pack has the pixels and fingerprint of training on the
            source; `none` keeps the whole image and resizes its shorter side to the source's size.
        format: PNG or lossless WebP.
        force: replace `out` if it exists.
        max_unreadable: fraction of images, in [0, 1], that may be unreadable; these are left out.
        progress: called with (done, total).
        threads: decoding threads.

    Returns:
        The number of images written, and the unreadable ones.

    Raises:
        UserError: `out` exists, too many images are unreadable, or the images would be too large to be read back.
    """
    if Image.MAX_IMAGE_PIXELS is not None and source.size**2 > Image.MAX_IMAGE_PIXELS:
        largest = math.isqrt(Image.MAX_IMAGE_PIXELS)
        raise UserError(
            f"images of {source.size} pixels square could not be read again: --size can be {largest} at most"
        )
    if out.exists() and not force:
        raise UserError(f"{out} exists: choose another name, or replace it with --force")
    failures: list[UnreadableImage] = []
    names: list[str] = []
    kept: list[int] = []

    def write(temporary: Path) -> None:
        encode = partial(_encode, source, crop, format)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for index, entry in enumerate(in_order(encode, range(len(source)), threads)):
                if isinstance(entry, UnreadableImage):
                    failures.append(entry)
                    check_unreadable(failures, len(source), max_unreadable)
                else:
                    names.append(f"{len(names) // 1000:05}/img{len(names):08}.{format}")
                    kept.append(index)
                    archive.writestr(zip_entry(names[-1]), entry)
                if progress is not None:
                    progress(index + 1, len(source))
            manifest: dict[str, Any] = {"labels": None}
            if source.labels is not None:
                pairs = zip(names, source.labels[kept].tolist(), strict=True)
                manifest = {"labels": list(pairs), "classes": source.class_names}
            archive.writestr(zip_entry(MANIFEST), json.dumps(manifest, ensure_ascii=False))

    write_whole(out, write)
    return Packed(len(names), out.stat().st_size, {failure.name: failure.reason for failure in failures})


def _encode(source: Source, crop: str, format: str, index: int) -> bytes | UnreadableImage:
    pixels = source.try_read(index, crop=crop == "center")
    if isinstance(pixels, UnreadableImage):
        return pixels
    file = io.BytesIO()
    to_pil(torch.from_numpy(pixels)).save(file, format.upper(), **FORMATS[format])
    return file.getvalue()
