"""Parquet: rows, splits and shards, and what they cost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.making import as_parquet, noise, parquet_folder, png

from steadygan.data.decoding import UnreadableImage
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_rows_of_parquet_are_read_in_any_order(tmp_path: Path) -> None:
    source = open_source(str(parquet_folder(tmp_path)), size=8)
    assert source.names[4] == "train-00001-of-00002.parquet/00000001"
    for index in (5, 0, 4, 1, 3):
        np.testing.assert_array_equal(source.read(index), noise(index).transpose(2, 0, 1))


def test_parquet_without_labels_is_unlabelled(tmp_path: Path) -> None:
    for number, labels in enumerate((None, [-1, -1], [None, None])):
        path = as_parquet(tmp_path / f"{number}.parquet", [0, 1], labels)
        assert open_source(str(path), size=8).labels is None


def test_parquet_with_some_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the column label of"):
        open_source(str(as_parquet(tmp_path / "a.parquet", [0, 1], [0, None])), size=8)


def test_splits_of_parquet_are_not_mixed(tmp_path: Path) -> None:
    as_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [0], [0])
    as_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1], [0])
    with pytest.raises(UserError, match="several splits"):
        open_source(str(tmp_path), size=8)
    assert len(open_source(str(tmp_path / "data" / "train-*.parquet"), size=8)) == 1


@pytest.mark.parametrize("stems", [("0000", "0001"), ("train-00000-of-00002", "train-00001-of-00002"), ("a_1", "a_2")])
def test_shards_of_one_split_are_one_set(tmp_path: Path, stems: tuple[str, str]) -> None:
    for seed, stem in enumerate(stems):
        as_parquet(tmp_path / f"{stem}.parquet", [seed], [0])
    source = open_source(str(tmp_path), size=8)
    np.testing.assert_array_equal(source.read(1), noise(1).transpose(2, 0, 1))


def test_files_of_one_name_in_two_folders_are_not_mixed(tmp_path: Path) -> None:
    for folder in "ab":
        as_parquet(tmp_path / folder / "0000.parquet", [0], [0])
    with pytest.raises(UserError, match="several splits"):
        open_source(str(tmp_path), size=8)
    with pytest.raises(UserError, match=r"called 0000\.parquet"):
        open_source(str(tmp_path / "*" / "0000.parquet"), size=8)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [([1.0, 0.0], ("0", "1")), ([True, False], ("False", "True")), (["dog", "cat"], ("cat", "dog"))],
)
def test_labels_of_any_plain_type_are_classes(tmp_path: Path, labels: list[Any], classes: tuple[str, ...]) -> None:
    source = open_source(str(as_parquet(tmp_path / "a.parquet", [0, 1], labels)), size=8)
    assert source.labels is not None
    assert (source.labels.tolist(), source.class_names) == ([1, 0], classes)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([[0], [1]], r"the column label holds lists, expected one class number or name in each row"),
        (["cat", None], r"the column label of a\.parquet: no value \(image 2\) is no label"),
        ([0, -1], "-1 is not a label, as class numbers start at 0"),
    ],
)
def test_labels_that_are_none_are_explained(tmp_path: Path, labels: list[Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_source(str(as_parquet(tmp_path / "a.parquet", [0, 1], labels)), size=8)


def arrow() -> Any:
    pytest.importorskip("pyarrow.parquet")
    return pytest.importorskip("pyarrow")


def peak_of_arrow(read: Callable[[], object]) -> int:
    pyarrow = arrow()
    pool = pyarrow.proxy_memory_pool(pyarrow.default_memory_pool())
    before = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pool)
    try:
        read()
    finally:
        pyarrow.set_memory_pool(before)
    return pool.max_memory()


def test_one_image_in_many_rows_of_parquet_is_in_memory_once(tmp_path: Path) -> None:
    """2,000 rows of one image of 512 KB: a file of one image, 1 GB if each row had its copy."""
    pyarrow, image = arrow(), png(0) + np.random.default_rng(0).bytes(1 << 19)
    words = pyarrow.DictionaryArray.from_arrays([0] * 2000, [image])
    labels = pyarrow.DictionaryArray.from_arrays([0, 1] * 1000, ["x" * (1 << 18), "y"])
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"image": words, "label": labels}), path, compression="zstd", store_schema=False
    )
    assert path.stat().st_size < 1 << 20

    def read() -> None:
        source = open_source(str(path), size=8, channels=3)
        assert len(source) == 2000
        assert source.read(1999).shape == (3, 8, 8)

    assert peak_of_arrow(read) < 32 << 20


def test_parquet_of_more_rows_than_bytes_is_refused(tmp_path: Path) -> None:
    pyarrow, path = arrow(), tmp_path / "a.parquet"
    table = pyarrow.table({"image": pyarrow.nulls(200_000, pyarrow.binary())})
    pyarrow.parquet.write_table(table, path)
    assert path.stat().st_size < 200_000
    with pytest.raises(UserError, match="declares 200,000 rows, more than it has bytes"):
        open_source(str(path), size=8)


def test_a_path_in_parquet_is_not_followed(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "secret.png").write_bytes(png(0))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}], kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"), size=8, channels=3)
    with pytest.raises(UnreadableImage, match="holds no bytes"):
        source.read(0)


def test_damaged_parquet_and_parquet_without_images_are_explained(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"no column of images \(its columns: x\)"):
        open_source(str(tmp_path / "a.parquet"), size=8)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"b\.parquet is not a valid parquet file"):
        open_source(str(tmp_path / "b.parquet"), size=8)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_parquet(tmp_path / "a.parquet", [0], [0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"`pip install pyarrow` \(steadygan's extra 'parquet'\)"):
        open_source(str(path), size=8)
