"""Images and their containers, for tests of the data."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from steadygan.data.images import load_images
from steadygan.data.source import open_source

CLASSES = ("ant", "bee", "cat")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def png(seed: int, **shape: int) -> bytes:
    return encoded(Image.fromarray(noise(seed, **shape)))


CLASS_FOLDERS = {f"{CLASSES[i // 2]}/{i}.png": png(i) for i in range(6)}


def as_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def as_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_parquet(path: Path, seeds: list[int], labels: list[Any] | None, *, names: tuple[str, ...] | None = None) -> Path:
    """One file as the `datasets` library writes it, in row groups of two."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns: dict[str, Any] = {"image": [{"bytes": png(seed), "path": f"{seed}.png"} for seed in seeds]}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if labels is not None:
        columns["label"] = labels
        if names is not None:
            features["label"] = {"names": list(names), "_type": "ClassLabel"}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


def found(path: Path | str, **options: Any) -> tuple[str, list[int] | None, tuple[str, ...]]:
    """The fingerprint, labels and classes of everything at `path`."""
    source = open_source(str(path), size=8, **options)
    images = load_images(source, range(len(source)))
    assert images.skipped == []
    return images.fingerprint, None if images.labels is None else images.labels.tolist(), images.class_names


def parquet_folder(root: Path) -> Path:
    for number in range(2):
        seeds = list(range(3 * number, 3 * number + 3))
        path = root / "data" / f"train-{number:05}-of-00002.parquet"
        as_parquet(path, seeds, [seed // 2 for seed in seeds], names=CLASSES)
    return root


def sixteen(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, np.uint16))


def as_data_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    return as_folder(root / "data", files)


def as_data_zip(root: Path, files: Mapping[str, bytes]) -> Path:
    return as_zip(root / "data.zip", files)


def as_data_tar(root: Path, files: Mapping[str, bytes]) -> Path:
    return as_tar(root / "data.tar", files)


def as_data_tgz(root: Path, files: Mapping[str, bytes]) -> Path:
    return as_tar(root / "data.tar.gz", files, "w:gz")


Packing = Callable[[Path, Mapping[str, bytes]], Path]
packings = pytest.mark.parametrize("pack", [as_data_folder, as_data_zip])
