"""Stamps: how an image was generated, written into its file.

In PNG it is text (`steadygan`, JSON; `Description`, a sentence) and EXIF; in WebP and JPEG, EXIF; in GIF and MP4, the
comment. A folder of images also has `images.json`, in case a tool strips metadata.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from steadygan.errors import UserError
from steadygan.files import write_whole

KEY = "steadygan"
SIDECAR = "images.json"
_EXIF_DESCRIPTION, _EXIF_SOFTWARE = 0x010E, 0x0131
CALLS = ("sample", "from_seeds", "walk", "interpolate", "translate", "sheet", "film")
_COMMENT = b"\xa9cmt"


@dataclass(frozen=True)
class Stamp:
    """The provenance of an image: a generator and a call of one of its methods.

    Attributes:
        steadygan: the version that made it.
        checkpoint: SHA-256 of weights.safetensors, empty if the step has no checkpoint.
        run, step: source of the weights.
        weights: ema or raw.
        call, arguments: the method of `Generator` and its JSON arguments, including seed and truncation, or `sheet` for
            images that need data, `translate` for one of them, `film` for grids of several steps.
        index: index of the image in the call's result, None for a grid of all.
        columns, column_names: of that grid, names if each column has one class.
        named: whether names are drawn above the columns.
        enlarged: integer factor of enlargement.
        top: pixels above the first row.
        label, class_name: the image's class, if any.
    """

    steadygan: str
    checkpoint: str
    run: str
    step: int
    weights: str
    call: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    index: int | None = None
    columns: int | None = None
    label: int | None = None
    class_name: str | None = None
    column_names: tuple[str, ...] = ()
    named: bool = False
    enlarged: int = 1
    top: int = 0

    def of(self, index: int, label: int | None = None, class_name: str | None = None) -> Stamp:
        """The stamp of a single image."""
        return replace(
            self,
            index=index,
            columns=None,
            column_names=(),
            named=False,
            enlarged=1,
            top=0,
            label=label,
            class_name=class_name,
        )

    def sentence(self) -> str:
        """One sentence for the file's properties."""
        what = ", ".join(f"{key}={value}" for key, value in self.arguments.items() if value is not None)
        which = "" if self.index is None else f"[{self.index}]"
        named = "" if self.class_name is None else f", class {self.class_name}"
        weights = f"{self.weights} weights {self.checkpoint[:12]}".rstrip()
        return f"steadygan {self.steadygan}: {self.run}, step {self.step}, {weights}; {self.call}({what}){which}{named}"


def as_text(stamp: Stamp) -> str:
    """As ASCII JSON, because EXIF readers interpret other bytes as Latin-1."""
    return json.dumps(asdict(stamp))


def saving(stamp: Stamp, kind: str) -> dict[str, Any]:
    """Arguments of Pillow's `Image.save` that write the stamp. kind: PNG, GIF, WEBP or JPEG."""
    text = as_text(stamp)
    if kind == "GIF":
        return {"comment": text.encode()}
    exif = Image.Exif()
    exif[_EXIF_DESCRIPTION], exif[_EXIF_SOFTWARE] = text, f"steadygan {stamp.steadygan}"
    if kind != "PNG":
        return {"exif": exif}
    info = PngInfo()
    info.add_itxt(KEY, text)
    info.add_itxt("Description", stamp.sentence())
    info.add_text("Software", f"steadygan {stamp.steadygan}")
    return {"pnginfo": info, "exif": exif}


def read_stamp(path: Path) -> Stamp:
    """Reads the stamp of an image file or MP4, or its entry in the folder's `images.json`.

    Raises `UserError` if the file is not an image or has no stamp.
    """
    text: str | bytes | None
    try:
        if path.suffix.lower() == ".mp4":
            text = _comment_of_mp4(path)
        else:
            with Image.open(path) as image:
                text = image.info.get(KEY) or image.info.get("comment") or image.getexif().get(_EXIF_DESCRIPTION)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; give an image that steadygan wrote") from None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable image ({error}); give one that steadygan wrote") from None
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    stamp = None if text is None else parse(text)
    stamp = stamp or _from_sidecar(path)
    if stamp is None:
        raise UserError(
            f"{path} does not say what made it: it has no stamp (was it edited, or written by another program?); give "
            "an image as steadygan wrote it"
        )
    return stamp


def _comment_of_mp4(path: Path) -> bytes | None:
    """The comment in an MP4's metadata: an item `©cmt` with one box `data` (size, name, type, language)."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        start = held.rfind(_COMMENT) + len(_COMMENT)
        size, name = int.from_bytes(held[start : start + 4], "big"), held[start + 4 : start + 8]
        return held[start + 16 : start + size] if name == b"data" else None


def parse(text: str) -> Stamp | None:
    """The stamp in a JSON text; None if there is none."""
    try:
        found = json.loads(text)
        fields = {key: found[key] for key in Stamp.__dataclass_fields__ if key in found}
        stamp = Stamp(**{**fields, "column_names": tuple(fields.get("column_names", ()))})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    whole = isinstance(stamp.checkpoint, str) and re.fullmatch(r"([0-9a-f]{64})?", stamp.checkpoint)
    known = stamp.call in CALLS and isinstance(stamp.arguments, Mapping) and stamp.weights in ("ema", "raw")
    sound = type(stamp.step) is int and (stamp.index is None or (type(stamp.index) is int and stamp.index >= 0))
    names = all(isinstance(name, str) for name in stamp.column_names)
    drawn = type(stamp.enlarged) is int and stamp.enlarged >= 1 and type(stamp.top) is int and stamp.top >= 0
    return stamp if whole and known and sound and names and drawn else None


def restamp(path: Path, stamp: Stamp) -> None:
    """Replaces the stamp of a PNG without changing its pixels.

    Raises:
        UserError: the file cannot be read or written.
    """
    try:
        with Image.open(path) as image:
            image.load()
            kept = image.copy()
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from None
    write_whole(path, lambda temporary: kept.save(temporary, format="PNG", **saving(stamp, "PNG")))


def sidecar(stamps: Mapping[str, Stamp]) -> str:
    """The content of `images.json`: stamps by file name."""
    return json.dumps({name: asdict(stamp) for name, stamp in stamps.items()}, indent=1, ensure_ascii=False) + "\n"


def _from_sidecar(path: Path) -> Stamp | None:
    try:
        found = json.loads((path.parent / SIDECAR).read_text(encoding="utf-8"))
        return parse(json.dumps(found[path.name]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
