"""Data sets of the Hub and of torchvision, by name."""

from __future__ import annotations

import io
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.making import as_parquet, as_tar, noise
from PIL import Image

from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """huggingface_hub with one data set in its cache; returns the list of requests."""
    for split, seeds in (("train", [0, 1, 2]), ("test", [3])):
        as_parquet(tmp_path / "snapshot/plain" / f"{split}-00000-of-00001.parquet", seeds, [0] * len(seeds))
    asked: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        if repository != "user/name":
            raise OSError("404 Client Error\nmore")
        return str(tmp_path / "snapshot")

    module = types.ModuleType("huggingface_hub")
    module.__spec__ = ModuleSpec("huggingface_hub", None)
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_a_split_of_the_hub_is_read_by_name(hub: list[dict[str, Any]]) -> None:
    train, test = open_source("hf:user/name", size=8), open_source("hf:user/name@main/test", size=8)
    assert (len(train), len(test), train.name) == (3, 1, "hf:user/name")
    np.testing.assert_array_equal(test.read(0), noise(3).transpose(2, 0, 1))
    assert [(call["repository"], call["revision"], call["repo_type"]) for call in hub] == [
        ("user/name", None, "dataset"),
        ("user/name", "main", "dataset"),
    ]
    assert "*test-*.parquet" in hub[1]["allow_patterns"]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("hf:name", "is invalid"),
        ("hf:user/gone", "cannot be fetched: 404 Client Error$"),
        ("hf:user/name/validation", "no parquet files of a split 'validation'"),
    ],
)
def test_what_the_hub_does_not_have_is_explained(hub: list[dict[str, Any]], path: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_source(path, size=8)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install huggingface_hub. .*extra 'hf'"):
        open_source("hf:user/name", size=8)


# torchvision


def enlarged(seed: int) -> np.ndarray:
    """(3, 32, 32)"""
    return noise(seed).repeat(4, 0).repeat(4, 1).transpose(2, 0, 1)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with CIFAR-10 as torchvision keeps it: three training images, one of test."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR10

    folder = tmp_path / "root" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    content = {
        "data_batch_1": {"data": np.stack([enlarged(i).ravel() for i in range(3)]), "labels": [2, 0, 2]},
        "test_batch": {"data": np.full((1, 3072), 7, np.uint8), "labels": [1]},
        "batches.meta": {"label_names": ["a", "b", "c"]},
    }
    sums = {}
    for name, value in content.items():
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": sums["batches.meta"]})
    return tmp_path / "root"


@pytest.mark.filterwarnings("ignore:.*classes have no image")
def test_torchvision_data_sets_are_read_by_name(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = open_source("torchvision:CIFAR10", size=32, root=str(cifar))
    assert train.labels is not None
    assert (train.labels.tolist(), train.class_names, train.channels) == ([2, 0, 2], ("a", "b", "c"), 3)
    np.testing.assert_array_equal(train.read(1), enlarged(1))
    monkeypatch.setenv("STEADYGAN_DATA", str(cifar))
    test = open_source("torchvision:CIFAR10/test", size=32)
    assert (len(test), int(test.read(0).max())) == (1, 7)


@pytest.mark.filterwarnings("ignore:.*classes have no image")
def test_torchvision_images_have_the_fingerprint_of_files(cifar: Path, tmp_path: Path) -> None:
    train = open_source("torchvision:CIFAR10", size=32, root=str(cifar))
    files = {}
    for index, label in enumerate("cac"):
        file = io.BytesIO()
        Image.fromarray(train.read(index).transpose(1, 2, 0)).save(file, "PNG")
        files[f"{index}.png"], files[f"{index}.cls"] = file.getvalue(), str("abc".index(label)).encode()
    source = open_source(str(as_tar(tmp_path / "a.tar", files)), size=32)
    assert load_images(source, range(3)).fingerprint == load_images(train, range(3)).fingerprint


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("torchvision:CIFAR11", "no data set 'CIFAR11'; did you mean 'CIFAR10"),
        ("torchvision:ImageFolder", "no data set 'ImageFolder'"),
        ("torchvision:CIFAR10/validation", "no split 'validation'"),
        ("torchvision:SVHN/validation", "cannot be opened"),
        ("torchvision:../x", "no data set"),
    ],
)
def test_what_torchvision_does_not_have_is_explained(tmp_path: Path, path: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_source(path, size=8, root=str(tmp_path))
