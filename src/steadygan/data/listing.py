"""Which files of a container are images, in which order, and which classes they belong to."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import numpy as np

from steadygan.data.containers.base import EXTENSIONS, Container, Listing
from steadygan.data.labels import (
    MANIFEST,
    TABLE,
    manifest_labels,
    sidecar_images,
    sidecar_labels,
    sidecars,
    table_labels,
)
from steadygan.errors import UserError


def list_images(files: Container, path: str) -> Listing:
    """The images of a container, sorted by name, and their labels.

    Labels come from `dataset.json`, else `labels.csv`, else WebDataset's `.cls` or `.json` beside the images, else
    class folders, if every image lies exactly one folder down and there are at least two. Raises UserError.
    """
    known = files.listing()
    if known is not None:
        if not known.names:
            raise UserError(f"there are no images in {path}")
        return known
    everything = set(files.names())
    visible = sorted(name for name in everything if not hidden(name))
    images = tuple(name for name in visible if name.lower().endswith(EXTENSIONS))
    for file, read in ((MANIFEST, manifest_labels), (TABLE, table_labels)):
        name = _nearest_to_root(visible, images, file, path)
        if name is not None:
            images = tuple(image for image in images if image.startswith(name.removesuffix(file)))
            labels, class_names = read(files, name, images, f"{name} in {path}")
            return Listing(file, images, len(everything) - len(images) - 1, labels, class_names)
    if not images:
        raise UserError(
            f"there are no images in {path} ({len(everything)} other files): "
            f"give a folder or an archive with files ending in {' '.join(EXTENSIONS)}"
        )
    if found := sidecars(files, visible, images):
        images = sidecar_images(images, path)
        labels, class_names = sidecar_labels(files, found, images, path)
        return Listing("webdataset", images, len(everything) - len(images) - len(found), labels, class_names)
    return _by_folders(images, len(everything) - len(images))


def hidden(name: str) -> bool:
    """Whether a file is one that people do not see."""
    # Finder's zips hold an undecodable "__MACOSX/._x.jpg" for every x.jpg.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _nearest_to_root(visible: Sequence[str], images: Sequence[str], file: str, path: str) -> str | None:
    """The file of that name with images beside or below it."""
    found = sorted((name for name in visible if posixpath.basename(name) == file), key=lambda name: name.count("/"))
    found = [name for name in found if any(image.startswith(name.removesuffix(file)) for image in images)]
    if len(found) > 1 and found[0].count("/") == found[1].count("/"):
        raise UserError(f"{path} holds several data sets, {' and '.join(found[:2])}: give one")
    return found[0] if found else None


def _by_folders(images: tuple[str, ...], ignored: int) -> Listing:
    folders = [posixpath.dirname(name) for name in images]
    # One folder around everything is packaging, not a class.
    common = posixpath.commonpath(set(folders))
    inner = {folder: folder[len(common) :].lstrip("/") for folder in set(folders)}
    classes = tuple(sorted(inner.values()))
    if classes == ("",):
        return Listing("flat", images, ignored)
    if any(not name or "/" in name for name in classes):
        return Listing("nested folders", images, ignored)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[inner[folder]] for folder in folders], np.int64)
    return Listing("class folders", images, ignored, labels, classes)
