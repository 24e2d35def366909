"""Lists the images of a container, in order, with their classes."""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from steadygan.data.classes import name_classes
from steadygan.data.containers.base import EXTENSIONS, Container, Listing
from steadygan.data.folders import find_split, inner_paths
from steadygan.data.image_files import ARCHIVES, hidden, images_among, kind
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
from steadygan.names import composed

OTHER_IMAGES: tuple[str, ...] = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".tga",
    ".psd",
    ".svg",
    ".exr",
    ".hdr",
    ".dng",
    ".cr2",
)
OTHER_IMAGES += (".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".npy")
"""Suffixes of unsupported image formats."""
TABLES = (".csv", ".tsv", ".jsonl")
STRAYS = 0.1
"""Up to this fraction of images outside class folders is skipped; with more, folders are not classes."""
NAMED = 5


def list_images(files: Container, path: str) -> Listing:
    """The images of a container, sorted by name, and their labels.

    Labels come from `dataset.json`, else `labels.csv`, else WebDataset's `.cls` or `.json` next to the images, else
    from class folders, if there are at least two and every image is exactly one level down. Raises UserError.
    """
    known = files.listing()
    if known is not None:
        if not known.names:
            raise UserError(f"there are no images in {path}; name a folder or archive that holds some")
        return known
    everything = set(files.names())
    visible = sorted(name for name in everything if not hidden(name))
    images = tuple(images_among(files, visible))
    for file, read in ((MANIFEST, manifest_labels), (TABLE, table_labels)):
        name = _nearest_to_root(visible, images, file, path)
        if name is None:
            continue
        below = tuple(image for image in images if image.startswith(name.removesuffix(file)))
        if (labelled := read(files, name, below, f"{name} in {path}")) is not None:
            return Listing(file, below, len(everything) - len(below) - 1, *labelled)
    others = [name for name in visible if name.lower().endswith(OTHER_IMAGES)]
    archives = [name for name in visible if name.lower().endswith(ARCHIVES)]
    if not images:
        raise UserError(_nothing(files, visible, others, archives, f"{path} ({len(everything)} other files)"))
    if archives:
        warnings.warn(
            f"{path}: archives next to or below the images are not read, {_some(archives)}: unpack them, or "
            "move them away",
            stacklevel=2,
        )
    if others:
        warnings.warn(
            f"{path}: {len(others)} images are skipped and {len(images)} are used, as their formats are not "
            f"supported, {_some(others)}: convert them to PNG or JPEG",
            stacklevel=2,
        )
    images, folders = _training_part(images, path)
    if found := sidecars(files, visible, images):
        images = sidecar_images(images, path)
        labels, class_names = sidecar_labels(files, found, images, path)
        return Listing("webdataset", images, len(everything) - len(images) - len(found), labels, class_names)
    listing = _by_folders(folders, len(everything) - len(images), path)
    tables = [name for name in visible if name.lower().endswith(TABLES)]
    if listing.labels is None and tables:
        warnings.warn(
            f"{path}: the images have no labels, and {_some(tables)} is not read: if it holds some, name it {TABLE}, "
            "with a first line `file,label`",
            stacklevel=2,
        )
    return listing


def _nothing(
    files: Container, visible: Sequence[str], others: Sequence[str], archives: Sequence[str], where: str
) -> str:
    """The message for a path without images; names what it contains instead."""
    if others:
        unread = f"{len(others)} of them images of unsupported formats, {_some(others)}"
        return f"there are no images in {where}, {unread}: convert them to PNG"
    if archives:
        return f"there are no images in {where}: archives inside are not read, {_some(archives)}: give one of them"
    named = next((name for name in visible[:NAMED] if kind(files, name)), None)
    if named is not None:
        return f"there are no images in {where}, but {named} is a {kind(files, named)}: name such files with its ending"
    return f"there are no images in {where}: give a folder or an archive with files ending in {' '.join(EXTENSIONS)}"


def _nearest_to_root(visible: Sequence[str], images: Sequence[str], file: str, path: str) -> str | None:
    """The file of that name closest to the top level with images next to it or below it."""
    found = sorted((name for name in visible if posixpath.basename(name) == file), key=lambda name: name.count("/"))
    found = [name for name in found if any(image.startswith(name.removesuffix(file)) for image in images)]
    if len(found) > 1 and found[0].count("/") == found[1].count("/"):
        raise UserError(f"{path} holds several data sets, {' and '.join(found[:2])}: give one")
    return found[0] if found else None


def _training_part(images: tuple[str, ...], path: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The images of train/ if val/ or test/ is next to it, else all; and their folders below that."""
    found = find_split(images)
    if found is None:
        return images, {name: posixpath.dirname(name) for name in images}
    kept = tuple(found.classes)
    training = " and ".join(f"{_short(folder)}/" for folder in found.training)
    others = " and ".join(f"{_short(folder)}/" for folder in found.others)
    other = next(iter(found.others))
    warnings.warn(
        f"{path} holds {training} and {others}: only the {len(kept)} images of {training} are used, and "
        f"{len(images) - len(kept)} are left out"
        + ("" if "*" in other else f"; give the folder {other} in it to read those"),
        stacklevel=3,
    )
    return kept, found.classes


def _short(folder: str) -> str:
    return folder if "*" in folder else posixpath.basename(folder)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _by_folders(folders: Mapping[str, str], ignored: int, path: str) -> Listing:
    """Images by folder; folders are classes if every image is exactly one level down."""
    images = tuple(folders)
    inner = inner_paths(tuple(folders.values()))
    if len({composed(folder) for folder in inner.values()}) == 1:
        return Listing("flat", images, ignored)
    strays = [name for name, folder in folders.items() if not inner[folder] or "/" in inner[folder]]
    classes = {composed(name) for name in inner.values() if name and "/" not in name}
    if strays and (len(classes) < 2 or len(strays) > STRAYS * len(images)):
        return Listing("nested folders", images, ignored)
    if strays:
        warnings.warn(
            f"{path}: {len(strays)} images are skipped, as they are in none of the {len(classes)} class folders: "
            f"{_some(strays)}: move them into one",
            stacklevel=3,
        )
        lost = set(strays)
        images = tuple(name for name in images if name not in lost)
        ignored += len(strays)
    number, class_names = name_classes((inner[folders[name]] for name in images), path)
    labels = np.array([number[inner[folders[name]]] for name in images], np.int64)
    return Listing("class folders", images, ignored, labels, class_names)
