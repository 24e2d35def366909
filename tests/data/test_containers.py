"""Every container gives the same images, labels and fingerprint; custom containers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from data.making import CLASS_FOLDERS, CLASSES, as_folder, as_parquet, as_tar, as_zip, found, parquet_folder, png

from steadygan.data.containers.registry import is_name, open_container
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


# labels.csv


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file,label\na.png,0\n", r"no label for 1 images, such as b\.png"),
        ("file,label\na.png,0\nb.png,1\nc.png,1\n", r"do not exist.*c\.png"),
        ("name,class\na.png,0\n", "line 1 has no column 'file', but name, class; expected a first line `file,label`"),
        ("File,Label\na.png,0\n", "line 1 has no column 'file', but File, Label; .*'File', in small letters"),
        ("file,label,file\na.png,0,b\n", "line 1 has several columns 'file'"),
        ("file;label\na.png;0\n", "line 1, column 5: its columns are divided by ';'.*with commas"),
        ("", "line 1 is empty"),
        ("file,label\na.png,0\n./a.png,1\n", r"line 3, column 1: \./a\.png is named a second time, after line 2"),
        ("file,label\na.png\n", r"line 2 ends before column 2, 'label': 'a\.png'"),
        ("file,label\na.png,0\nb.png,\n", r"line 3, column 2: b\.png has no label \(''\)"),
        ("file,label\na.png,0\nb.png,NaN\n", r"line 3, column 2: b\.png has no label \('NaN'\)"),
        *(
            (f"file,label\na.png,0\nb.png,{nothing}\n", r"line 3, column 2: b\.png has no label")
            for nothing in ("NA", "<NA>", "#N/A", "null", "-", "?")
        ),
        ("file,label\na.png,0\nb.PNG,1\n", r"such as b\.PNG \(it has b\.png; names are .* case-sensitive\)"),
        ("file,label\n/data/a.png,0\n/data/b.png,1\n", r"such as /data/a\.png \(it has a\.png; names are relative"),
        ("file,label\na.png,0\nb.png,-1\n", "-1 is not a label, as class numbers start at 0"),
        ("file,label\na.png,0.0\nb.png,-1.0\n", "-1 is not a label, as class numbers start at 0"),
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


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("header", "rows", "classes"),
    [
        ("filename,label", (".\\a.png,dog", ".\\b.png,cat"), ("cat", "dog")),
        ("image,label", ("a,dog", "b,cat"), ("cat", "dog")),
        (",file,label", ("0,a.png,1.0", "1,b.png,0.0"), ("0", "1")),
        ("file,label", ("a.png,01", "b.png,00"), ("0", "1")),
        ("file,label", ("a.png,True", "b.png,False"), ("False", "True")),
        ("file,label", ("a.png,dog", " b.png , cat "), ("cat", "dog")),
        ("file,label", ("a.png,2.5", "b.png,1.5"), ("1.5", "2.5")),
    ],
)
def test_labels_as_tables_are_written(
    tmp_path: Path, header: str, rows: tuple[str, ...], classes: tuple[str, ...], ends: str
) -> None:
    files = {"a.png": png(0), "b.png": png(1), "labels.csv": ends.join((header, *rows)).encode()}
    source = open_source(str(as_folder(tmp_path / "data", files)), size=8)
    assert source.labels is not None
    assert (source.labels.tolist(), source.class_names) == ([1, 0], classes)


def test_two_spellings_of_one_letter_are_one_name(tmp_path: Path) -> None:
    files = {"u\u0308.png": png(0), "labels.csv": "file,label\n\u00fc.png,cat\n".encode()}
    assert open_source(str(as_zip(tmp_path / "a.zip", files)), size=8).class_names == ("cat",)


def test_a_name_without_an_ending_that_two_files_have_is_not_guessed(tmp_path: Path) -> None:
    files = {"a.png": png(0), "a.jpg": png(1), "labels.csv": b"file,label\na,cat\n"}
    with pytest.raises(UserError, match="such as a: add the files"):
        open_source(str(as_folder(tmp_path / "data", files)), size=8)


def test_classes_that_differ_in_capitals_are_warned_of(tmp_path: Path) -> None:
    files = {"a.png": png(0), "b.png": png(1), "labels.csv": b"file,label\na.png,Cat\nb.png,cat\n"}
    with pytest.warns(UserWarning, match="'Cat' and 'cat' differ only in case"):
        assert open_source(str(as_folder(tmp_path / "data", files)), size=8).class_names == ("Cat", "cat")


def test_two_encodings_of_one_class_in_a_table_are_one_class(tmp_path: Path) -> None:
    table = "file,label\na.png,u\u0308\nb.png,\u00fc\nc.png,cat\n".encode()
    files = {"a.png": png(0), "b.png": png(1), "c.png": png(2), "labels.csv": table}
    source = open_source(str(as_folder(tmp_path / "data", files)), size=8)
    assert source.class_names == ("cat", "\u00fc")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("name", ["train.csv", "Labels.csv", "metadata.jsonl"])
def test_a_table_of_another_name_is_told_of_as_not_read(tmp_path: Path, name: str) -> None:
    with pytest.warns(UserWarning, match=rf"have no labels, and {name} is not read: .*name it labels\.csv"):
        assert open_source(str(as_folder(tmp_path / "data", {"a.png": png(0), name: b"?"})), size=8).labels is None


def test_a_labels_csv_elsewhere_is_another_file(tmp_path: Path) -> None:
    files = CLASS_FOLDERS | {"notes/labels.csv": b"anything"}
    assert open_source(str(as_folder(tmp_path / "data", files)), size=8).class_names == CLASSES


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
        ("their_container:nothing:x", "must return a steadygan.data.containers.base.Container, not 'x'"),
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
