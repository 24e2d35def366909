"""Hostile archives and odd names: refused, or read safely; no file outside the archive is read."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data.making import as_folder, as_tar, as_zip, noise, png

from steadygan.data.containers import base
from steadygan.data.containers.registry import open_container
from steadygan.data.decoding import UnreadableImage
from steadygan.data.domains import open_domains
from steadygan.data.source import open_source
from steadygan.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEADYGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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
        ({"type": tarfile.CHRTYPE}, "is not a regular file"),
        ({"type": tarfile.BLKTYPE}, "is not a regular file"),
        ({"type": tarfile.FIFOTYPE}, "is not a regular file"),
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


@pytest.mark.parametrize(("kind", "complaint"), [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is not a regular file")])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int, complaint: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png(0))
        entry = zipfile.ZipInfo("b.png")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match=f"is refused.*{complaint}"):
        open_source(str(tmp_path / "a.zip"), size=8)


@pytest.mark.parametrize(("said", "spelled"), [("utf-8", "größe"), ("utf-8", "кошка"), ("cp437", "größe")])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_names_in_a_zip_that_does_not_say_their_encoding(tmp_path: Path, said: str, spelled: str, method: int) -> None:
    """Finder's zips hold UTF-8 without the flag that says so, those of old tools code page 437."""

    class Unsaid(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:
            return self.filename.encode(said), 0

    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        for index, name in enumerate(("a", spelled)):
            archive.writestr(Unsaid(f"{name}/{index}.png"), png(index), method)
    source = open_source(str(tmp_path / "a.zip"), size=8)
    assert source.class_names == ("a", spelled)
    assert source.read(1).shape == (3, 8, 8)


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
    """64 MiB of zeros, regardless of the size in the directory; the sound file next to them is read."""
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


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("dataset.json", "is it another file"), ("labels.csv", "is it another file"), ("a.cls", "gives no label")],
)
def test_labels_far_longer_than_images_need_are_not_understood(tmp_path: Path, name: str, complaint: str) -> None:
    """A million empty lists: 10 kB in the archive, 3 MB of text, 64 MB as objects."""
    text = b'{"label": [' + b"[]," * (1 << 20) + b"[]]}"
    path = as_zip(tmp_path / "archive", {"a.png": png(0), name: text})
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=complaint):
            open_source(str(path), size=8)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


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
    with pytest.raises(UnreadableImage, match="not a regular file"):
        source.read(0)
