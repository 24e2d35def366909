"""Which files of a container are images, and which classes they belong to."""

from __future__ import annotations

import json
import posixpath
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steadygan.data.containers import Container
from steadygan.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MANIFEST = "dataset.json"


@dataclass(frozen=True)
class Listing:
    layout: str
    names: tuple[str, ...]
    ignored: int
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def _hidden(name: str) -> bool:
    # Finder's zips hold an undecodable "__MACOSX/._x.jpg" for every x.jpg.
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def list_images(files: Container, path: str) -> Listing:
    everything = set(files.names())
    visible = [name for name in everything if not _hidden(name)]
    manifests = sorted((n for n in visible if posixpath.basename(n) == MANIFEST), key=lambda n: n.count("/"))
    if len(manifests) > 1 and manifests[0].count("/") == manifests[1].count("/"):
        raise UserError(f"{path} holds several data sets, {' and '.join(sorted(manifests)[:2])}: give one")
    manifest = manifests[0] if manifests else None
    base = "" if manifest is None else manifest.removesuffix(MANIFEST)
    names = tuple(sorted(n for n in visible if n.lower().endswith(EXTENSIONS) and n.startswith(base)))
    ignored = len(everything) - len(names) - (manifest is not None)
    if not names:
        raise UserError(
            f"there are no images in {path} ({len(everything)} other files): "
            f"give a folder or a zip with files ending in {' '.join(EXTENSIONS)}"
        )
    if manifest is not None:
        labels, class_names = _manifest_labels(files, manifest, names, f"{manifest} in {path}")
        return Listing(MANIFEST, names, ignored, labels, class_names)

    folders = [posixpath.dirname(name.lstrip("/")) for name in names]
    # One folder around everything is packaging, not a class.
    common = posixpath.commonpath(set(folders))
    inner = {folder: folder[len(common) :].lstrip("/") for folder in set(folders)}
    classes = tuple(sorted(inner.values()))
    if classes == ("",):
        return Listing("flat", names, ignored)
    if any(not name or "/" in name for name in classes):
        return Listing("nested folders", names, ignored)
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number[inner[folder]] for folder in folders], np.int64)
    return Listing("class folders", names, ignored, labels, classes)


def _manifest_labels(
    files: Container, name: str, images: Sequence[str], where: str
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    try:
        manifest, base = json.loads(files.read(name)), name.removesuffix(MANIFEST)
        pairs, classes = manifest.get("labels"), manifest.get("classes")
        if pairs is None:
            return None, ()
        class_names = None if classes is None else tuple(map(str, classes))
        labels = {base + image.replace("\\", "/"): label for image, label in pairs}
        if any(type(label) is not int or label < 0 for label in labels.values()) or len(labels) < len(pairs):
            raise ValueError
    except (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile):
        raise UserError(
            f'{where} is not understood: expected {{"labels": [["file name", class number], …] or null, '
            '"classes": ["name", …] (optional)}, with class numbers from 0 and every file named once'
        ) from None
    if missing := sorted(labels.keys() - set(images)):
        raise UserError(
            f"{where} names {len(missing)} files that are not there or are no images, such as {missing[0]}: "
            "add the files or take their lines out"
        )
    if unlabelled := sorted(set(images) - labels.keys()):
        raise UserError(
            f"{where} gives no label for {len(unlabelled)} images, such as {unlabelled[0]}: "
            'add their labels, remove the images, or write "labels": null'
        )
    needed = max(labels.values()) + 1
    class_names = class_names or tuple(map(str, range(needed)))
    if len(class_names) < needed:
        raise UserError(f"{where} uses class number {needed - 1} but names only {len(class_names)} classes")
    return np.array([labels[image] for image in images], np.int64), class_names
