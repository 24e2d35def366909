"""Published data sets in one command, with a stand-in for the network."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import Run
from PIL import Image

from steadygan import config as configuration
from steadygan.data import published
from steadygan.data.published import SETS, File, Published, find_set, get
from steadygan.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images in two class folders."""
    for number in range(6):
        place = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(256, size=(12, 9, 3), dtype=np.uint8)).save(place)
    return tmp_path / "photos"


@pytest.fixture
def stand_in(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed data set, and a data set downloaded from this machine."""
    with zipfile.ZipFile(tmp_path / "there.zip", "w") as archive:
        for place in sorted(photos.rglob("*.png")):
            archive.write(place, place.name)
    sets = {
        "photos": Published({"photos_train.zip": File(str(photos), 6, 8)}),
        "there": Published({"there.zip": File((tmp_path / "there.zip").as_uri(), 6)}),
        "wrong": Published({"wrong.zip": File((tmp_path / "there.zip").as_uri(), 7)}),
        "gone": Published({"gone.zip": File((tmp_path / "gone.zip").as_uri(), 6)}),
        "far": Published({}, "Ask its authors"),
    }
    monkeypatch.setattr(published, "SETS", sets)


@pytest.mark.usefixtures("stand_in")
def test_a_set_is_packed_once_with_its_classes(steadygan: Run, tmp_path: Path) -> None:
    assert steadygan("data", "get", "photos").out == "data/photos_train.zip: 6 images\n"
    with zipfile.ZipFile(tmp_path / "data" / "photos_train.zip") as archive:
        manifest = json.loads(archive.read("dataset.json"))
    assert manifest["classes"] == ["cat", "dog"]
    assert steadygan("data", "get", "photos").out == "data/photos_train.zip: 6 images (was there)\n"


@pytest.mark.usefixtures("stand_in")
def test_a_file_is_downloaded_as_it_is(steadygan: Run, tmp_path: Path) -> None:
    assert steadygan("data", "get", "there", "--out", "mine").out == "mine/there.zip: 6 images\n"
    assert (tmp_path / "mine" / "there.zip").read_bytes() == (tmp_path / "there.zip").read_bytes()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrong", "data/wrong.zip has 6 images, and the papers' data 7"),
        ("gone", "gone.zip cannot be fetched"),
        ("far", "far cannot be fetched by a command. Ask its authors"),
        ("phtos", "did you mean 'photos'"),
    ],
)
def test_what_cannot_be_had_is_said_and_leaves_no_half_file(
    steadygan: Run, tmp_path: Path, name: str, message: str
) -> None:
    result = steadygan("data", "get", name)
    assert result.status == 2
    assert message in result.err
    assert not list((tmp_path / "data").glob(".*")) or not (tmp_path / "data").exists()
    assert not (tmp_path / "data" / "gone.zip").exists()


@pytest.mark.usefixtures("stand_in")
def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    list(get(find_set("photos"), tmp_path, progress=lambda name: lambda *done: told.append((name, *done))))
    assert told == [("photos_train.zip", number + 1, 6) for number in range(6)]


def test_every_preset_of_a_paper_names_data_that_is_known() -> None:
    own = ("digits", "stacked-digits", "photos")
    for name in configuration.preset_names():
        path = configuration.load(name).data.path
        if path not in own:
            stem = Path(path).name
            known = [key for key, found in SETS.items() if stem in found.files or Path(stem).stem == key]
            assert known, f"{name} is trained on {path}"


def test_a_download_that_ends_early_is_none(tmp_path: Path) -> None:
    import io

    with pytest.raises(ConnectionError, match="it ended after 3 of 5 bytes"):
        published._copy(io.BytesIO(b"abc"), io.BytesIO(), 5, lambda done, total: None)


def test_an_unknown_set_is_a_mistake() -> None:
    with pytest.raises(UserError, match="did you mean 'cifar10'"):
        find_set("cifar1")
