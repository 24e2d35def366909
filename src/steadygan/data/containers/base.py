"""The interface of image containers, and checks on their entries."""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from steadygan.data.decoding import FORMATS, open_image
from steadygan.data.ordered import in_order
from steadygan.errors import UserError
from steadygan.files import sha256

EXTENSIONS: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
EXTENSIONS += (".jfif", ".jpe", ".apng", ".ppm", ".pgm", ".pbm", ".pnm")
HEAD_BYTES = 16
MAGIC = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "TIFF": b"II*\0",
    "TIFF of the other byte order": b"MM\0*",
    "BMP": b"BM",
}
"""Magic bytes by format; WebP's are `RIFF????WEBP`."""
MAX_MEMBER_BYTES, PART_BYTES = 256 << 20, 1 << 20


@dataclass(frozen=True)
class Listing:
    """The images of a container in order, with their classes if known.

    Attributes:
        ignored: number of other files.
    """

    layout: str
    names: tuple[str, ...]
    ignored: int = 0
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


class Container(ABC):
    """Files by name, read as bytes by any number of threads at once and never extracted to disk."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Names of all files, in no particular order; `/` separates folders."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """One file's content, at most MAX_MEMBER_BYTES. A damaged file can raise any exception."""

    def head(self, name: str) -> bytes:
        """A file's first HEAD_BYTES bytes or more. A damaged file can raise any exception."""
        return self.read(name)

    def listing(self) -> Listing | None:
        """Images and labels, if the container itself stores them; None: derive them from file names."""
        return None

    def image(self, name: str) -> Image.Image:
        """One image, fully decoded and with its EXIF orientation applied. A damaged file can raise any exception."""
        return open_image(self.read(name))

    def mode(self, name: str) -> str:
        """Pillow's mode of one image, from its header alone if possible."""
        return Image.open(io.BytesIO(self.read(name)), formats=FORMATS).mode

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 (hex) of all bytes that store the images `names`; a missing file counts as empty."""
        total = hashlib.sha256()
        for part in in_order(self._digest, names):
            total.update(part)
        return total.hexdigest()

    def _digest(self, name: str) -> bytes:
        try:
            return hashlib.sha256(self.read(name)).digest()
        except Exception:  # Decoding counts and names unreadable files.
            return bytes(32)


def digest_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 (hex) of whole files in order: the `digest` of an archive."""
    return hashlib.sha256("\n".join(in_order(sha256, paths)).encode()).hexdigest()


def check_size(size: int) -> None:
    """Raises ValueError for a file too large to be an image."""
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"{size >> 20} MiB when unpacked, over the limit of {MAX_MEMBER_BYTES >> 20} MiB")


def read_bounded(file: IO[bytes]) -> bytes:
    """Reads a file in small parts. Raises ValueError beyond MAX_MEMBER_BYTES, whatever size the header claims."""
    parts, total = [], 0
    while part := file.read(PART_BYTES):
        total += len(part)
        check_size(total)
        parts.append(part)
    return b"".join(parts)


def image_format(head: bytes) -> str | None:
    """The image format by the first HEAD_BYTES; None for other files."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((format for format, magic in MAGIC.items() if head.startswith(magic)), None)


def plain_name(name: str) -> str:
    """Normalises a file's name in its container: `/` separates folders, no `./`.

    Windows tools write backslashes into archives, and other tools unpack them into file names.
    """
    return posixpath.normpath(name.replace("\\", "/"))


def check_entry(name: str, path: Path, *, link: bool = False, special: bool = False) -> None:
    """Raises UserError for an archive entry that points outside, or is not a regular file or folder.

    Entries are never extracted, so they could do no harm here. But an archive with such paths is hostile or broken, and
    skipping a link would silently lose an image.

    Args:
        name: the entry's name.
        path: the archive, for the message.
        link: whether the entry is a link.
        special: whether it is a device, pipe or similar.

    Raises:
        UserError: the entry is not acceptable.
    """
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        complaint = "points outside of it"
    elif link:
        complaint = "is a link"
    elif special:
        complaint = "is not a regular file"
    else:
        return
    raise UserError(f"{path} is refused, because its entry {name!r} {complaint}: pack the images themselves, by paths")
