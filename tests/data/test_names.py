"""Names of classes and paths: capitals, the two encodings of ü, and bytes that are no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from data.making import as_data_folder, as_data_zip, as_folder, png

from steadygan.data.source import open_source
from steadygan.errors import UserError


def test_class_folders_that_differ_in_capitals_are_warned_of(tmp_path: Path) -> None:
    files = {"Cat/a.png": png(0), "cat/b.png": png(1)}
    with pytest.warns(UserWarning, match="'Cat' and 'cat' differ only in case and are two classes"):
        assert open_source(str(as_data_zip(tmp_path, files)), size=8).class_names == ("Cat", "cat")


def test_two_encodings_of_one_class_folder_are_one_class(tmp_path: Path) -> None:
    files = {"ku\u0308he/a.png": png(0), "k\u00fche/b.png": png(1), "ziegen/c.png": png(2)}
    source = open_source(str(as_data_zip(tmp_path, files)), size=8)
    assert source.class_names == ("k\u00fche", "ziegen")
    assert source.labels is not None
    found = dict(zip(source.names, source.labels.tolist(), strict=True))
    assert found == {"ku\u0308he/a.png": 0, "k\u00fche/b.png": 0, "ziegen/c.png": 1}


def test_two_encodings_of_the_only_folder_are_no_classes(tmp_path: Path) -> None:
    files = {"ku\u0308he/a.png": png(0), "k\u00fche/b.png": png(1)}
    source = open_source(str(as_data_zip(tmp_path, files)), size=8)
    assert len(source) == 2
    assert source.labels is None


@pytest.fixture
def named_by_bytes(tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names are text on this file system")
    return folder


@pytest.mark.parametrize("asked", ["data.zip", "data", "."])
def test_a_path_that_is_not_text_is_to_be_renamed(
    named_by_bytes: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    as_data_zip(named_by_bytes, {"a.png": png(0)})
    as_data_folder(named_by_bytes, {"a.png": png(0)})
    monkeypatch.chdir(named_by_bytes)
    for path in (asked, str(named_by_bytes / asked)):
        with pytest.raises(UserError, match=r"caf\\udce9.* is not valid UTF-8, so no run can record it: rename"):
            open_source(path, size=8)


def test_a_class_whose_name_is_not_text_is_to_be_renamed(named_by_bytes: Path) -> None:
    root = as_folder(named_by_bytes.parent, {"tea/a.png": png(0), f"{named_by_bytes.name}/b.png": png(1)})
    with pytest.raises(UserError, match=r"the class name 'caf\\udce9' is not valid UTF-8: rename the class"):
        open_source(str(root), size=8)


def test_images_whose_names_are_not_text_are_read(named_by_bytes: Path) -> None:
    root = as_folder(named_by_bytes.parent, {f"one/{named_by_bytes.name}.png": png(0), "two/b.png": png(1)})
    source = open_source(str(root), size=8)
    assert source.class_names == ("one", "two")
    assert source.read(0).shape == (3, 8, 8)
