"""Every place images are kept in: the same images, labels and fingerprint, and nothing from outside."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import stat
import sys
import tarfile
import tracemalloc
import types
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from steadygan.data.containers import base, tar
from steadygan.data.containers.registry import is_name, open_container
from steadygan.data.decoding import UnreadableImage
from steadygan.data.domains import open_domains
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(8, 8, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(seed)).save(file, "PNG")
    return file.getvalue()


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


# The same data wherever it lies


def sharded_tar(root: Path) -> Path:
    names = list(CLASS_FOLDERS)
    for number, part in enumerate((names[:3], names[3:])):
        as_tar(root / f"shard-{number}.tar", {f"./{name}": CLASS_FOLDERS[name] for name in part})
    return root / "shard-*.tar"


def compressed_shards(root: Path) -> Path:
    names = list(CLASS_FOLDERS)
    for number, mode in enumerate(("w:gz", "w:xz", "w")):
        part = {name: CLASS_FOLDERS[name] for name in names[2 * number : 2 * number + 2]}
        as_tar(root / f"{number}.tar.gz", part, mode)  # its content tells, not its name
    return root / "[0-9].tar.gz"


def tar_folder(root: Path) -> Path:
    sharded_tar(root)
    return root


def webdataset(root: Path, ending: str, mode: str = "w") -> Path:
    files: dict[str, bytes] = {}
    for i in range(6):
        label = CLASSES[i // 2]
        files[f"{i:04}.png"] = png(i)
        files[f"{i:04}.{ending}"] = label.encode() if ending == "cls" else json.dumps({"label": label}).encode()
    return as_tar(root / ("wds.tar.gz" if mode == "w:gz" else "wds.tar"), files, mode)


def table(root: Path) -> Path:
    lines = [f"x/{i}.png,{CLASSES[i // 2]}" for i in reversed(range(6))]
    files = {f"x/{i}.png": png(i) for i in range(6)} | {"labels.csv": "\n".join(["file,label", *lines]).encode()}
    return as_folder(root / "table", files)


def manifest(root: Path) -> Path:
    pairs = [[f"{i}.png", i // 2] for i in range(6)]
    files = {f"{i}.png": png(i) for i in range(6)}
    return as_zip(root / "a.zip", files | {"dataset.json": json.dumps({"labels": pairs, "classes": CLASSES}).encode()})


def parquet_folder(root: Path) -> Path:
    for number in range(2):
        seeds = list(range(3 * number, 3 * number + 3))
        path = root / "data" / f"train-{number:05}-of-00002.parquet"
        as_parquet(path, seeds, [seed // 2 for seed in seeds], names=CLASSES)
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda root: as_zip(root / "a.zip", CLASS_FOLDERS),
    "zip with dataset.json": manifest,
    "labels.csv": table,
    "tar": lambda root: as_tar(root / "a.tar", CLASS_FOLDERS),
    "tar without a suffix": lambda root: as_tar(root / "a", CLASS_FOLDERS),
    "tar.gz": lambda root: as_tar(root / "a.tar.gz", CLASS_FOLDERS, "w:gz"),
    "tar.bz2": lambda root: as_tar(root / "a.tar.bz2", CLASS_FOLDERS, "w:bz2"),
    "tar.xz": lambda root: as_tar(root / "a.tar.xz", CLASS_FOLDERS, "w:xz"),
    "shards by glob": sharded_tar,
    "compressed shards": compressed_shards,
    "folder of shards": tar_folder,
    "webdataset .cls": lambda root: webdataset(root, "cls"),
    "webdataset .json": lambda root: webdataset(root, "json", "w:gz"),
    "parquet": lambda root: as_parquet(root / "a.parquet", list(range(6)), [0, 0, 1, 1, 2, 2], names=CLASSES),
    "parquet shards": parquet_folder,
    "parquet with class names": lambda root: as_parquet(
        root / "a.parquet", list(range(6)), [CLASSES[i // 2] for i in range(6)]
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_images_are_the_same_data_in_every_layout(tmp_path: Path, layout: str) -> None:
    expected = found(as_folder(tmp_path / "folder", CLASS_FOLDERS))
    assert expected[1:] == ([0, 0, 1, 1, 2, 2], CLASSES)
    (tmp_path / "other").mkdir()
    assert found(LAYOUTS[layout](tmp_path / "other")) == expected


def test_a_changed_byte_is_other_data(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "a.tar", CLASS_FOLDERS)
    assert found(as_tar(tmp_path / "b.tar", CLASS_FOLDERS | {"ant/0.png": png(99)}))[0] != found(path)[0]


# Tars


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
    with pytest.raises(UserError, match=r"a\.tar is not a sound tar"):
        open_source(str(path), size=8)


def test_a_truncated_compressed_tar_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "a.tar.gz", CLASS_FOLDERS, "w:gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"a\.tar\.gz is not a sound tar"):
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


# Hostile archives


def hostile_tar(path: Path, **fields: Any) -> Path:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.size = len(png(0))
        archive.addfile(entry, io.BytesIO(png(0)))
        bad = tarfile.TarInfo("b.png")
        for name, value in fields.items():
            setattr(bad, name, value)
        archive.addfile(bad)
    return path


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": "../b.png"}, "points outside"),
        ({"name": "x/../../b.png"}, "points outside"),
        ({"name": "/etc/b.png"}, "points outside"),
        ({"name": "..\\b.png"}, "points outside"),
        ({"name": "C:\\b.png"}, "points outside"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link"),
        ({"type": tarfile.SYMTYPE, "linkname": "a.png"}, "is a link"),
        ({"type": tarfile.LNKTYPE, "linkname": "a.png"}, "is a link"),
        ({"type": tarfile.CHRTYPE}, "is no plain file"),
        ({"type": tarfile.BLKTYPE}, "is no plain file"),
        ({"type": tarfile.FIFOTYPE}, "is no plain file"),
    ],
)
def test_a_hostile_tar_is_refused_and_nothing_is_written(tmp_path: Path, fields: Any, complaint: str) -> None:
    (tmp_path / "inner").mkdir()
    path = hostile_tar(tmp_path / "inner/a.tar", **fields)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"is refused.*{complaint}"):
        open_source(str(path), size=8)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/abs.png", "\\abs.png", "c:/abs.png"])
def test_a_zip_that_points_outside_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    path = as_zip(tmp_path / "inner/a.zip", {"a.png": png(0), name: png(1)})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"is refused.*points outside"):
        open_source(str(path), size=8)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("kind", "complaint"), [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is no plain file")])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int, complaint: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(0))
        entry = zipfile.ZipInfo("b.png")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match=f"is refused.*{complaint}"):
        open_source(str(tmp_path / "a.zip"), size=8)


def test_folders_in_an_archive_are_no_complaint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("ant") if hasattr(archive, "mkdir") else archive.writestr("ant/", b"")
        archive.writestr("ant/a.png", png(0))
    assert len(open_source(str(tmp_path / "a.zip"), size=8)) == 1


@pytest.mark.parametrize("write", [as_tar, as_zip, as_folder])
def test_an_oversized_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    monkeypatch.setattr(base, "MAX_MEMBER_BYTES", 1000)
    path = write(tmp_path / "archive", {"a.png": png(0), "big.png": png(1) + bytes(2000)})
    source = open_source(str(path), size=8, channels=3)
    source.read(0)
    with pytest.raises(UnreadableImage, match=r"big\.png.*over the limit"):
        source.read(1)


def test_a_zip_that_lies_about_its_sizes_is_not_unpacked_beyond_them(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(20 << 20))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    files = open_source(str(path), size=8, channels=3).files
    assert files is not None
    with pytest.raises(zipfile.BadZipFile):
        files.read("bomb.png")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("claimed", [100, 64 << 20])
def test_what_a_zip_unpacks_to_is_bounded_by_what_is_read(tmp_path: Path, method: int, claimed: int) -> None:
    """64 MiB of zeros, whatever the directory says of their size; the sound file next to them is read."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", png(0))
        archive.writestr("bomb.png", bytes(64 << 20))
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = claimed.to_bytes(4, "little")
    path.write_bytes(content)
    files = open_container(str(path))
    assert files.read("a.png") == png(0)
    if claimed == 64 << 20:
        assert files.read("bomb.png") == bytes(64 << 20)
        return
    tracemalloc.start()
    with pytest.raises(zipfile.BadZipFile):
        files.read("bomb.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_tar_header_of_many_megabytes_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("header")
    entry.type, entry.size = kind, 64 << 20
    path = tmp_path / "a.tar"
    path.write_bytes(entry.tobuf() + bytes(65 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match="header of 67,108,864 bytes"):
        open_container(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


# Names with backslashes, as tools on Windows write them


@pytest.mark.parametrize("write", [as_tar, as_zip, as_folder])
@pytest.mark.parametrize("wrapper", ["", "set\\"])
def test_backslashes_divide_folders(
    tmp_path: Path, write: Callable[[Path, Mapping[str, bytes]], Path], wrapper: str
) -> None:
    files = {f"{wrapper}cat\\a.png": png(0), f"{wrapper}dog\\b.png": png(1)}
    path = write(tmp_path / "data", files)
    source = open_source(str(path), size=8, channels=3)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("cat", "dog"), [0, 1])
    np.testing.assert_array_equal(source.read(1), noise(1).transpose(2, 0, 1))
    manifest = json.dumps({"labels": [["cat\\a.png", 1], ["./dog\\b.png", 0]], "classes": ["x", "y"]})
    path = write(tmp_path / "labelled", files | {f"{wrapper}dataset.json": manifest.encode()})
    source = open_source(str(path), size=8, channels=3)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("x", "y"), [1, 0])


@pytest.mark.parametrize("write", [as_tar, as_zip])
def test_domains_of_backslashes_are_two_domains(
    tmp_path: Path, write: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    path = write(tmp_path / "data", {"trainA\\x.png": png(0), "trainB\\x.png": png(1)})
    found = open_domains(str(path), size=8)["train"]
    np.testing.assert_array_equal(found.b.read(0), noise(1).transpose(2, 0, 1))


@pytest.mark.parametrize("write", [as_tar, as_zip, as_folder])
def test_two_spellings_of_one_name_are_refused(
    tmp_path: Path, write: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    path = write(tmp_path / "data", {"cat/a.png": png(0), "cat\\a.png": png(1)})
    with pytest.raises(UserError, match=r"cat/a\.png twice"):
        open_source(str(path), size=8)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    source = open_source(str(tmp_path), size=8, channels=3)
    with pytest.raises(UnreadableImage, match="not a plain file"):
        source.read(0)


# labels.csv


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file,label\na.png,0\n", r"no label for 1 images, such as b\.png"),
        ("file,label\na.png,0\nb.png,1\nc.png,1\n", r"not there.*c\.png"),
        ("name,class\na.png,0\n", "line 1 has no column 'file', but name, class; expected a first line `file,label`"),
        ("File,Label\na.png,0\n", "line 1 has no column 'file', but File, Label; .*'File', in small letters"),
        ("file,label,file\na.png,0,b\n", "line 1 has several columns 'file'"),
        ("file;label\na.png;0\n", "line 1, column 5: its columns are divided by ';'.*with commas"),
        ("", "line 1 is empty"),
        ("file,label\na.png,0\n./a.png,1\n", r"line 3, column 1: \./a\.png is named a second time, after line 2"),
        ("file,label\na.png\n", r"line 2 ends before column 2, 'label': 'a\.png'"),
        ("file,label\na.png,0\nb.png,\n", r"line 3, column 2: b\.png has no label \(''\)"),
        ("file,label\na.png,0\nb.png,NaN\n", r"line 3, column 2: b\.png has no label \('NaN'\)"),
        ('file,label\na.png,"0\n', "line 2: unexpected end of data"),
        ("file,label\na.png,0\nb.png,\udce9\n", "line 3, column 7: byte 0xe9 is no UTF-8"),
    ],
)
def test_a_wrong_labels_csv_is_explained(tmp_path: Path, text: str, complaint: str) -> None:
    files = {"a.png": png(0), "b.png": png(1), "labels.csv": text.encode("utf-8", "surrogateescape")}
    with pytest.raises(UserError, match=complaint):
        open_source(str(as_folder(tmp_path / "data", files)), size=8)


def test_labels_csv_may_have_numbers_other_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    text = '\ufefflabel,file,note\n3,"sub\\b.png",x\n0,./a.png,\n'
    files = {"set/a.png": png(0), "set/sub/b.png": png(1), "set/labels.csv": text.encode()}
    with pytest.warns(UserWarning, match="2 of 4 classes have no image, 1, 2"):
        source = open_source(str(as_zip(tmp_path / "a.zip", files)), size=8)
    assert source.labels is not None
    assert (source.labels.tolist(), source.class_names) == ([0, 3], ("0", "1", "2", "3"))


def test_a_labels_csv_elsewhere_is_another_file(tmp_path: Path) -> None:
    files = CLASS_FOLDERS | {"notes/labels.csv": b"anything"}
    assert open_source(str(as_folder(tmp_path / "data", files)), size=8).class_names == CLASSES


# Parquet


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
    with pytest.raises(UserError, match="claims 200,000 rows, more than it has bytes"):
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
    with pytest.raises(UserError, match=r"b\.parquet is not a sound parquet file"):
        open_source(str(tmp_path / "b.parquet"), size=8)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_parquet(tmp_path / "a.parquet", [0], [0])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"pip install 'steadygan\[parquet\]'"):
        open_source(str(path), size=8)


# The Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """huggingface_hub with one data set in its cache; what it was asked for."""
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
        ("hf:name", "not understood"),
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


# Someone else's


def test_a_container_outside_the_package_is_read_by_its_module(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a:b.sqlite")) as base_:
        base_.execute("CREATE TABLE images (name TEXT, image BLOB)")
        base_.executemany("INSERT INTO images VALUES (?, ?)", CLASS_FOLDERS.items())
        base_.commit()
    path = f"their_container:Table:{tmp_path}/a:b.sqlite"
    assert found(path) == found(as_folder(tmp_path / "data", CLASS_FOLDERS))
    assert is_name(path)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("their_container:Gone:x", "data.path: their_container:Gone cannot be imported"),
        ("no_module:Table:x", "data.path: no_module:Table cannot be imported"),
        ("their_container:nothing:x", "made no steadygan.data.containers.base.Container but 'x'"),
        ("C:photos", "does not exist"),
    ],
)
def test_a_container_that_is_none_is_explained(path: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_container(path)


def test_a_file_with_colons_in_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    as_zip(Path("their_container:Table:x"), CLASS_FOLDERS)
    assert len(open_source("their_container:Table:x", size=8)) == len(CLASS_FOLDERS)
    assert not is_name("their_container:Table:x")
