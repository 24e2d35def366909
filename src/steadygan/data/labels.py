"""Class labels as people write them: dataset.json, labels.csv, WebDataset's .cls and .json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steadygan.data.classes import number_classes
from steadygan.data.containers.base import Container, plain_name
from steadygan.errors import UserError

MANIFEST, TABLE = "dataset.json", "labels.csv"

Labels = tuple[np.ndarray | None, tuple[str, ...]]


def manifest_labels(files: Container, name: str, images: Sequence[str], where: str) -> Labels:
    """What StyleGAN's dataset.json says: {"labels": [[file, class number], …] or null, "classes": [name, …]}."""
    try:
        manifest, base = json.loads(files.read(name)), name.removesuffix(MANIFEST)
        pairs, classes = manifest.get("labels"), manifest.get("classes")
        if pairs is None:
            return None, ()
        class_names = None if classes is None else tuple(map(str, classes))
        labels = {plain_name(base + image): label for image, label in pairs}
        if any(type(label) is not int or label < 0 for label in labels.values()) or len(labels) < len(pairs):
            raise ValueError
    except Exception:  # Containers raise nearly anything on damaged bytes.
        raise UserError(
            f'{where} is not understood: expected {{"labels": [["file name", class number], …] or null, '
            '"classes": ["name", …] (optional)}, with class numbers from 0 and every file named once'
        ) from None
    return number_classes(_matched(labels, images, where, 'write "labels": null'), where, class_names or None)


def table_labels(files: Container, name: str, images: Sequence[str], where: str) -> Labels:
    """What a CSV with the columns `file` and `label` says; files are named from the CSV's own folder."""
    try:
        table = csv.DictReader(io.StringIO(files.read(name).decode("utf-8-sig")), strict=True)
        rows, base = [(row["file"], row["label"]) for row in table], name.removesuffix(TABLE)
        labels = {plain_name(base + file.strip()): label.strip() for file, label in rows}
        if len(labels) < len(rows):
            raise ValueError
    except Exception:
        raise UserError(
            f"{where} is not understood: expected UTF-8 text with a first line `file,label`, and every file named once"
        ) from None
    return number_classes(_matched(labels, images, where, f"remove {name}"), where)


def _matched(labels: Mapping[str, Any], images: Sequence[str], where: str, otherwise: str) -> list[Any]:
    """The labels in the order of `images`, which must be the very files that are labelled."""
    if missing := sorted(labels.keys() - set(images)):
        raise UserError(
            f"{where} names {len(missing)} files that are not there or are no images, such as {missing[0]}: "
            "add the files or take their lines out"
        )
    if unlabelled := sorted(set(images) - labels.keys()):
        raise UserError(
            f"{where} gives no label for {len(unlabelled)} images, such as {unlabelled[0]}: "
            f"add their labels, remove the images, or {otherwise}"
        )
    return [labels[image] for image in images]


def key(name: str) -> str:
    """What WebDataset groups the files of one sample by: the name up to its first dot."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def sidecars(files: Container, visible: Sequence[str], images: Sequence[str]) -> dict[str, str]:
    """WebDataset's label files by their samples' keys: `.cls`, or `.json` that have a label; empty without any."""
    keys = {key(image) for image in images}
    for ending in (".cls", ".json"):
        found = {key(name): name for name in visible if name.endswith(ending) and key(name) in keys}
        if ending == ".cls" and found:
            return found
        if found and _label(files, next(iter(sorted(found.values())))) is not None:
            return found
    return {}


def sidecar_images(images: Sequence[str], where: str) -> tuple[str, ...]:
    """One image for each sample: KEY.png rather than KEY.mask.png. Raises UserError where that does not decide."""
    samples: dict[str, list[str]] = {}
    for image in images:
        samples.setdefault(key(image), []).append(image)
    chosen = []
    for sample, candidates in samples.items():
        plain = [name for name in candidates if name.removeprefix(f"{sample}.".lstrip("/")).count(".") == 0]
        if len(plain or candidates) > 1:
            raise UserError(
                f"{where}: the sample {sample} has several images, {' and '.join(candidates[:2])}: keep one"
            )
        chosen += plain or candidates
    return tuple(chosen)


def sidecar_labels(files: Container, found: Mapping[str, str], images: Sequence[str], where: str) -> Labels:
    """The labels that each image's own file gives."""
    values = {image: _label(files, found[key(image)]) for image in images if key(image) in found}
    if damaged := next((image for image, value in values.items() if value is None), None):
        raise UserError(f"{where}: {found[key(damaged)]} gives no label: expected a class number or name")
    return number_classes(_matched(values, images, where, "remove all .cls and .json files"), where)


def _label(files: Container, name: str) -> int | str | None:
    try:
        text = files.read(name).decode().strip()
        if name.endswith(".cls"):
            return text or None
        content = json.loads(text)
        value = next((content[field] for field in ("label", "cls", "class") if field in content), None)
    except Exception:
        return None
    return value if type(value) in (int, str) else None
