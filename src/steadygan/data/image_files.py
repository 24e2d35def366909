"""Recognises image files by suffix, and files without a suffix by their first bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from steadygan.data.containers.base import EXTENSIONS, Container, image_format

UNSEEN = ("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")
"""Folders created by systems and storage devices; their images are thumbnails, deleted files or old versions."""
ARCHIVES = (
    ".zip",
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tar.xz",
    ".parquet",
    ".rar",
    ".7z",
    ".h5",
    ".hdf5",
    ".lmdb",
)


def image_names(files: Container) -> list[str]:
    """Sorted names of the visible images of a container."""
    return images_among(files, sorted(name for name in files.names() if not hidden(name)))


def images_among(files: Container, names: Sequence[str]) -> list[str]:
    """Filters `names` for images; keeps the order."""
    return [name for name in names if name.lower().endswith(EXTENSIONS) or (_bare(name) and kind(files, name))]


def hidden(name: str) -> bool:
    """Whether a file is hidden or belongs to the system."""
    # Finder's zips contain an undecodable "__MACOSX/._x.jpg" for every x.jpg; Synology adds thumbnails.
    return any(part.startswith(".") or part.lower() in UNSEEN for part in name.split("/"))


def kind(files: Container, name: str) -> str | None:
    """The format of an image file by its first bytes; None for other files."""
    try:
        return image_format(files.head(name))
    except Exception:  # Containers can raise any exception on damaged bytes.
        return None


def _bare(name: str) -> bool:
    return "." not in posixpath.basename(name)
