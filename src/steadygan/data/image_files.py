"""Which files are images: by their endings, and files without one by their first bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from steadygan.data.containers.base import EXTENSIONS, Container, image_format

UNSEEN = ("__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")
"""Folders that systems and storage devices make: their images are thumbnails, bins and earlier states."""
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
    """The visible images of a container by their names, sorted."""
    return images_among(files, sorted(name for name in files.names() if not hidden(name)))


def images_among(files: Container, names: Sequence[str]) -> list[str]:
    """Those of the files `names` that are images, in their order."""
    return [name for name in names if name.lower().endswith(EXTENSIONS) or (_bare(name) and kind(files, name))]


def hidden(name: str) -> bool:
    """Whether a file is one that people do not see."""
    # Finder's zips hold an undecodable "__MACOSX/._x.jpg" for every x.jpg, Synology's folders thumbnails of each.
    return any(part.startswith(".") or part.lower() in UNSEEN for part in name.split("/"))


def kind(files: Container, name: str) -> str | None:
    """The format of an image file by its first bytes; None for any other file."""
    try:
        return image_format(files.head(name))
    except Exception:  # Containers raise nearly anything on damaged bytes.
        return None


def _bare(name: str) -> bool:
    return "." not in posixpath.basename(name)
