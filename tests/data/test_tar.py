"""Tars and their shards: which files belong together, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from data.making import CLASS_FOLDERS, CLASSES, as_tar, as_zip, noise, png

from steadygan.data.containers import tar
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.filterwarnings("ignore:.*classes have no image")
def test_numbers_in_cls_files_are_class_numbers(tmp_path: Path) -> None:
    files = {"a.png": png(0), "a.cls": b"2\n", "b.png": png(1), "b.cls": b"0"}
    source = open_source(str(as_tar(tmp_path / "a.tar", files)), size=8)
    assert source.labels is not None
    assert (source.labels.tolist(), source.class_names, source.ignored) == ([2, 0], ("0", "1", "2"), 0)


def test_a_sample_may_have_other_pictures_beside_its_image(tmp_path: Path) -> None:
    files = {"a.png": png(0), "a.mask.png": png(1), "a.cls": b"0", "b.seg.png": png(2), "b.cls": b"1"}
    source = open_source(str(as_tar(tmp_path / "a.tar", files)), size=8)
    assert source.names == ("a.png", "b.seg.png")


def test_a_sample_with_two_images_is_refused(tmp_path: Path) -> None:
    files = {"a.png": png(0), "a.jpg": png(1), "a.cls": b"0"}
    with pytest.raises(UserError, match=r"a\.jpg and a\.png"):
        open_source(str(as_tar(tmp_path / "a.tar", files)), size=8)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"a.cls": b"0"}, r"no label for 1 images, such as b\.png"),
        ({"a.cls": b"0", "b.cls": b""}, r"b\.cls gives no label"),
        ({"a.cls": b"0", "b.cls": b"\xff\xfe"}, r"b\.cls gives no label"),
        ({"a.cls": b"0", "b.cls": b"cat"}, "'0'|cat"),
        ({"a.cls": b"0", "b.cls": b"999999999999"}, "over the limit"),
        ({"a.json": b'{"label": 1}', "b.json": b"{"}, r"b\.json gives no label"),
    ],
)
def test_labels_that_are_not_whole_are_explained(tmp_path: Path, files: dict[str, bytes], complaint: str) -> None:
    path = as_tar(tmp_path / "a.tar", {"a.png": png(0), "b.png": png(1)} | files)
    if complaint == "'0'|cat":  # names that look like numbers beside names are names
        assert open_source(str(path), size=8).class_names == ("0", "cat")
        return
    with pytest.raises(UserError, match=complaint):
        open_source(str(path), size=8)


def test_json_without_labels_beside_images_is_no_label(tmp_path: Path) -> None:
    files = CLASS_FOLDERS | {"ant/0.json": b'{"width": 8}'}
    source = open_source(str(as_tar(tmp_path / "a.tar", files)), size=8)
    assert (source.class_names, source.ignored) == (CLASSES, 1)


def test_two_shards_with_the_same_name_are_refused(tmp_path: Path) -> None:
    for shard in "ab":
        as_tar(tmp_path / f"{shard}.tar", {"0.png": png(0)})
    with pytest.raises(UserError, match=r"a\.tar and .*b\.tar hold 0\.png"):
        open_source(str(tmp_path), size=8)


def test_shards_must_be_of_one_kind_and_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x-\*\.tar matches nothing"):
        open_source(str(tmp_path / "x-*.tar"), size=8)
    as_zip(tmp_path / "x.zip", {"0.png": png(0)})
    with pytest.raises(UserError, match=r"shards are files ending in \.tar"):
        open_source(str(tmp_path / "*.zip"), size=8)


@pytest.mark.parametrize("where", ["header", "size", "end"])
def test_a_damaged_tar_is_refused_rather_than_read_in_part(tmp_path: Path, where: str) -> None:
    path = as_tar(tmp_path / "a.tar", CLASS_FOLDERS)
    content = bytearray(path.read_bytes())
    second = content.index(b"ant/1.png")
    if where == "header":
        content[second : second + 512] = b"\xff" * 512
    elif where == "size":
        content[second + 124 : second + 136] = b"\xff" * 12  # a negative size, in base 256
    else:
        content = content[: second + 600]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.tar is not a valid tar"):
        open_source(str(path), size=8)


def test_a_truncated_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "a.tar.gz", CLASS_FOLDERS, "w:gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.tar\.gz is not a valid tar"):
        open_source(str(path), size=8)


def test_a_tar_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(tar, "UNBOUNDED_BYTES", 1 << 20)
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(bytes(3 << 20))
    with pytest.raises(UserError, match="unpacks to over"):
        open_source(str(path), size=8)
    assert list(cache.iterdir()) == []


def test_unpacking_leaves_no_file_behind(tmp_path: Path, cache: Path) -> None:
    source = open_source(str(as_tar(tmp_path / "a.tar.gz", CLASS_FOLDERS, "w:gz")), size=8)
    assert list(cache.iterdir()) == []
    np.testing.assert_array_equal(source.read(3), noise(3).transpose(2, 0, 1))
