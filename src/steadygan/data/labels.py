"""Reads class labels from dataset.json, labels.csv, and WebDataset's .cls and .json files."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steadygan.data.classes import MISSING, number_classes
from steadygan.data.containers.base import Container, plain_name
from steadygan.errors import UserError
from steadygan.names import composed

MANIFEST, TABLE = "dataset.json", "labels.csv"
FILE_COLUMNS = ("file", "filename", "file_name", "image", "path")
"""Accepted names of a table's file column; the first one present is used."""
MANIFEST_FORM = (
    'expected {"labels": [["file name", class number], …] or null, "classes": ["name", …] (optional)}, with class '
    "numbers from 0 and every file named once"
)

IMAGE_BYTES, SPARE_BYTES, OWN_BYTES = 1 << 11, 1 << 20, 1 << 16
"""Limits of label files in bytes: per image of a common file, plus a constant, and for an image's own file. Parsed
objects take many times as much."""

Labels = tuple[np.ndarray | None, tuple[str, ...]]


def manifest_labels(files: Container, name: str, images: Sequence[str], where: str) -> Labels | None:
    """Reads StyleGAN's dataset.json: {"labels": [[file, class number], …] or null, "classes": [name, …]}.

    Returns None, with a warning, for another program's file of that name, which has no "labels".

    Args:
        files: the container.
        name: the manifest's name in it.
        images: names of the images, in order.
        where: the container's path, for messages.

    Raises:
        UserError: the manifest is invalid, or does not label exactly these images.
    """
    try:
        manifest = json.loads(_text(files, name, where, len(images)))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{where} is invalid: {place}: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except RecursionError:
        raise UserError(f"{where} is invalid: it is nested too deep") from None
    except ValueError as error:  # a number with thousands of digits
        raise UserError(f"{where} is invalid: {error}") from None
    if not isinstance(manifest, dict):
        raise UserError(f"{where} is invalid: it holds a {_kind(manifest)}; {MANIFEST_FORM}")
    if "labels" not in manifest:
        warnings.warn(
            f'{where} is not read, as it has no "labels": if another program wrote it, rename it; if the images are '
            'to have no classes, add "labels": null',
            stacklevel=3,
        )
        return None
    pairs, classes, base = manifest["labels"], manifest.get("classes"), name.removesuffix(MANIFEST)
    if pairs is None:
        return None, ()
    if not isinstance(pairs, list):
        raise UserError(f'{where} is invalid: "labels" is a {_kind(pairs)}; {MANIFEST_FORM}')
    if not isinstance(classes, list | None):
        raise UserError(f'{where} is invalid: "classes" is a {_kind(classes)}; {MANIFEST_FORM}')
    labels: dict[str, int] = {}
    for number, pair in enumerate(pairs, 1):
        entry = f'{where} is invalid: entry {number} of "labels" '
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UserError(f"{entry}is {json.dumps(pair)[:80]}; {MANIFEST_FORM}")
        if type(pair[1]) is not int or pair[1] < 0:
            raise UserError(f"{entry}gives {pair[0]} the label {json.dumps(pair[1])[:80]}: class numbers start at 0")
        if (image := plain_name(base + pair[0])) in labels:
            raise UserError(f"{entry}names {pair[0]} a second time: every file has one label")
        labels[image] = pair[1]
    class_names = None if classes is None else tuple(map(str, classes))
    return number_classes(_matched(labels, images, where, 'write "labels": null'), where, class_names or None)


def table_labels(files: Container, name: str, images: Sequence[str], where: str) -> Labels:
    """Reads a CSV with the columns `file` (or one of FILE_COLUMNS) and `label`.

    Paths are relative to the CSV's folder; suffixes may be omitted if unambiguous.

    Args:
        files: the container.
        name: the CSV's name in it.
        images: names of the images, in order.
        where: the container's path, for messages.

    Raises:
        UserError: the table is invalid, or does not label exactly these images.
    """
    text, base = _text(files, name, where, len(images)), name.removesuffix(TABLE)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    labels: dict[str, str] = {}
    lines: dict[str, int] = {}
    try:
        header = [column.strip() for column in next(rows, [])]
        file, label = _columns(header, where)
        for row in rows:
            line = f"{where} is invalid: line {rows.line_num}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) <= max(file, label):
                missing = header[file if file >= len(row) else label]
                raise UserError(f"{line} ends before column {len(row) + 1}, {missing!r}: {','.join(row)[:80]!r}")
            image = plain_name(base + row[file].strip())
            if image in lines:
                raise UserError(f"{line}, column {file + 1}: {row[file].strip()} is named a second time, after line "
                                f"{lines[image]}: every file has one label")  # fmt: skip
            if (value := row[label].strip()).lower() in MISSING:
                raise UserError(f"{line}, column {label + 1}: {row[file].strip()} has no label ({value!r}): add it, or "
                                "remove the line and the image")  # fmt: skip
            labels[image], lines[image] = value, rows.line_num
    except csv.Error as error:
        raise UserError(f"{where} is invalid: line {rows.line_num}: {error}") from None
    return number_classes(_matched(labels, images, where, f"remove {name}"), where)


def labels_table(labels: Mapping[str, str | None]) -> str:
    """Formats a labels.csv that `table_labels` can read."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "label"), *labels.items()])
    return text.getvalue()


def _columns(header: Sequence[str], where: str) -> tuple[int, int]:
    """The indices of a table's columns `file` and `label`. Raises UserError, naming the columns found."""
    wanted = "expected a first line `file,label`"
    if not any(header):
        raise UserError(f"{where} is invalid: line 1 is empty; {wanted}")
    if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
        raise UserError(
            f"{where} is invalid: line 1, column {header[0].index(marks[0]) + 1}: its columns are divided by "
            f"{marks[0]!r}; {wanted}, with commas"
        )
    named = next((column for column in FILE_COLUMNS if column in header), "file")
    for column in (named, "label"):
        if header.count(column) != 1:
            found = ", ".join(header)[:80]
            problem = "no column" if column not in header else "several columns"
            hint = next((f" ({entry!r}, in small letters)" for entry in header if entry.lower() == column), "")
            raise UserError(
                f"{where} is invalid: line 1 has {problem} {column!r}, but {found}; {wanted}"
                + (hint if column not in header else "")
            )
    return header.index(named), header.index("label")


def _text(files: Container, name: str, where: str, images: int) -> str:
    """Reads a text file about so many images from a container. Raises UserError with line and column if it is not
    UTF-8."""
    try:
        data = files.read(name)
    except Exception as error:  # On damaged bytes containers raise many kinds of errors.
        raise UserError(f"{where} cannot be read: {error}") from None
    if len(data) > (most := SPARE_BYTES + IMAGE_BYTES * images):
        raise UserError(
            f"{where} is invalid: {len(data):,} bytes, over {most:,} for {images} images; is it another file?"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        raise UserError(
            f"{where} is invalid: line {line}, column {column}: byte 0x{error.object[error.start]:02x} is no "
            "UTF-8; save it as UTF-8 text"
        ) from None


def _kind(value: Any) -> str:
    """The name of a value's type in JSON."""
    names: dict[type, str] = {dict: "object", list: "list", str: "text"}
    return names.get(type(value), json.dumps(value)[:20])


def _matched(labels: Mapping[str, Any], images: Sequence[str], where: str, otherwise: str) -> list[Any]:
    """The labels in the order of `images`. Raises UserError unless exactly these files are labelled."""
    if missing := sorted(labels.keys() - set(images)):
        labels = _with_endings(labels, images)
        missing = sorted(labels.keys() - set(images))
    if missing:
        raise UserError(
            f"{where} names {len(missing)} files that do not exist or are not images, such as {missing[0]}"
            f"{_like(missing[0], images)}: add the files or remove their lines"
        )
    if unlabelled := sorted(set(images) - labels.keys()):
        raise UserError(
            f"{where} gives no label for {len(unlabelled)} images, such as {unlabelled[0]}: "
            f"add their labels, remove the images, or {otherwise}"
        )
    return [labels[image] for image in images]


def _with_endings(labels: Mapping[str, Any], images: Sequence[str]) -> Mapping[str, Any]:
    """Labels by file, if each name matches one file: suffixes may be missing, and ü has two encodings."""
    meant: dict[str, str] = {}
    for image in images:
        stem = composed(posixpath.splitext(image)[0])
        meant[stem] = "" if stem in meant else image
    meant |= {composed(image): image for image in images}
    exact = set(images)
    found = {name: name if name in exact else meant.get(composed(name), "") for name in labels}
    clear = all(found.values()) and len(set(found.values())) == len(found)
    return {found[name]: label for name, label in labels.items()} if clear else labels


def _like(missing: str, images: Sequence[str]) -> str:
    """A hint at an existing image with a similar name."""
    base = posixpath.basename(missing).casefold()
    like = next((image for image in images if posixpath.basename(image).casefold() == base), None)
    return "" if like is None else f" (it has {like}; names are relative to the table and case-sensitive)"


def key(name: str) -> str:
    """WebDataset's key of a sample: the file name up to its first dot."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def sidecars(files: Container, visible: Sequence[str], images: Sequence[str]) -> dict[str, str]:
    """WebDataset's label files by sample key: `.cls`, or `.json` with a label; empty if there are none."""
    keys = {key(image) for image in images}
    for ending in (".cls", ".json"):
        found = {key(name): name for name in visible if name.endswith(ending) and key(name) in keys}
        if ending == ".cls" and found:
            return found
        if found and _label(files, next(iter(sorted(found.values())))) is not None:
            return found
    return {}


def sidecar_images(images: Sequence[str], where: str) -> tuple[str, ...]:
    """One image per sample: KEY.png rather than KEY.mask.png. Raises UserError if that is ambiguous."""
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
    """Reads labels from each image's own label file.

    Args:
        files: the container.
        found: names of label files by the `key` of their images.
        images: names of the images, in order.
        where: the container's path, for messages.

    Raises:
        UserError: a file gives no label, or images lack one.
    """
    values = {image: _label(files, found[key(image)]) for image in images if key(image) in found}
    if damaged := next((image for image, value in values.items() if value is None), None):
        raise UserError(f"{where}: {found[key(damaged)]} gives no label: expected a class number or name")
    return number_classes(_matched(values, images, where, "remove all .cls and .json files"), where)


def _label(files: Container, name: str) -> int | str | None:
    try:
        data = files.read(name)
        if len(data) > OWN_BYTES:
            return None
        text = data.decode().strip()
        if name.endswith(".cls"):
            return text or None
        content = json.loads(text)
        value = next((content[field] for field in ("label", "cls", "class") if field in content), None)
    except Exception:
        return None
    return value if type(value) in (int, str) else None
