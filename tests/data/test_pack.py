"""A pack has the pixels, labels and fingerprint of its source, and is the same byte for byte each time."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from steadygan.cli import app
from steadygan.data.describe import describe
from steadygan.data.images import load_images
from steadygan.data.pack import pack
from steadygan.data.source import open_source
from steadygan.errors import UserError


def noise(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of several sizes in two classes."""
    for number in range(12):
        path = tmp_path / "data" / ("dog" if number >= 5 else "cat") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(number, 8 + number, 20 - number)).save(path)
    return tmp_path / "data"


def everything(path: Path, size: int) -> Any:
    source = open_source(str(path), size=size)
    images = load_images(source, range(len(source)))
    return images.fingerprint, images.class_names, images.labels.tolist() if images.labels is not None else None


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_pack_is_the_data_training_would_see(folder: Path, tmp_path: Path, format: Any) -> None:
    packed = pack(open_source(str(folder), size=8), tmp_path / "out.zip", format=format)
    assert (packed.count, packed.unreadable) == (12, {})
    assert packed.bytes == (tmp_path / "out.zip").stat().st_size
    assert everything(tmp_path / "out.zip", 8) == everything(folder, 8)


def test_a_pack_is_a_stylegan_zip(folder: Path, tmp_path: Path) -> None:
    pack(open_source(str(folder), size=8), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
        names = [f"00000/img{number:08}.png" for number in range(12)]
        assert archive.namelist() == [*names, "dataset.json"]
        manifest = json.loads(archive.read("dataset.json"))
        assert manifest == {
            "labels": [[name, int(number >= 5)] for number, name in enumerate(names)],
            "classes": ["cat", "dog"],
        }
        image = Image.open(io.BytesIO(archive.read(names[3])))
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (8, 8))
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}


def test_a_thousand_images_to_a_folder(tmp_path: Path) -> None:
    pack(open_source("digits", size=8), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist()[999:1001] == ["00000/img00000999.png", "00001/img00001000.png"]
    info = describe(str(tmp_path / "out.zip"))
    assert (info["count"], info["channels"], info["layout"]) == (1797, 1, "dataset.json")
    assert info["fingerprint"] == describe("digits")["fingerprint"]


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_pack_is_the_same_byte_for_byte_whatever_the_threads(folder: Path, tmp_path: Path, format: Any) -> None:
    source = open_source(str(folder), size=8)
    for threads in (1, 5):
        pack(source, tmp_path / f"{threads}.zip", format=format, threads=threads)
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "5.zip").read_bytes()


def test_without_cropping_whole_images_are_kept(folder: Path, tmp_path: Path) -> None:
    pack(open_source(str(folder), size=4), tmp_path / "out.zip", crop="none")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        sizes = [Image.open(archive.open(name)).size for name in archive.namelist()[:-1]]
        third = np.asarray(Image.open(archive.open("00000/img00000003.png")))
    assert [min(size) for size in sizes] == [4] * 12
    assert sizes[0] == (10, 4)  # of 20 × 8
    expected = Image.fromarray(noise(3, 11, 17)).resize((6, 4), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(third, np.asarray(expected))


def test_unlabelled_data_stay_unlabelled_whatever_the_folders(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.fromarray(noise(0)).save(tmp_path / "data" / "a.png")
    pack(open_source(str(tmp_path / "data"), size=8), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
    assert open_source(str(tmp_path / "out.zip"), size=8).labels is None


def test_unreadable_images_are_left_out_without_a_gap(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "03.png").write_bytes(b"")
    source = open_source(str(folder), size=8)
    packed = pack(source, tmp_path / "out.zip", max_unreadable=0.1)
    assert list(packed.unreadable) == ["cat/03.png"]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist()[-2] == "00000/img00000010.png"
        assert [label for _, label in json.loads(archive.read("dataset.json"))["labels"]] == [0] * 4 + [1] * 7
    with pytest.raises(UserError, match=r"cat/03\.png"):
        pack(source, tmp_path / "other.zip")


def test_a_pack_is_there_whole_or_not_at_all(folder: Path, tmp_path: Path) -> None:
    (folder / "dog" / "11.png").write_bytes(b"")
    (tmp_path / "out.zip").write_bytes(b"what was there")
    source = open_source(str(folder), size=8)
    with pytest.raises(UserError, match=r"exists: .*--force"):
        pack(source, tmp_path / "out.zip")
    with pytest.raises(UserError, match=r"dog/11\.png"):
        pack(source, tmp_path / "out.zip", force=True)
    assert (tmp_path / "out.zip").read_bytes() == b"what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out.zip"]
    pack(source, tmp_path / "out.zip", force=True, max_unreadable=0.5)
    assert len(open_source(str(tmp_path / "out.zip"), size=8)) == 11


def test_a_size_that_nothing_could_read_again_is_refused_before_it_takes_the_memory(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--size can be 9459 at most"):
        pack(open_source(str(folder), size=9460), tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_progress_reaches_the_end(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    pack(open_source(str(folder), size=8), tmp_path / "out.zip", progress=lambda *done: told.append(done))
    assert told == [(number + 1, 12) for number in range(12)]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["data", *arguments])


def test_the_commands_pack_and_describe(folder: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out.zip", tmp_path / "sheet.png"
    result = run("pack", str(folder), str(out), "--size", "8", "--crop", "center", "--format", "webp", "--threads", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{out}: 12 images, ")
    result = run("info", str(out), "--sheet", str(sheet), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["classes"] == {"cat": 5, "dog": 7}
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert isinstance(run("pack", str(folder), str(out), "--size", "8").exception, UserError)
    assert run("pack", str(folder), str(out), "--size", "8", "--force", "--channels", "1").exit_code == 0
    assert describe(str(out))["channels"] == 1
    assert run("pack", str(folder), str(out), "--size", "8", "--channels", "2").exit_code == 2
