"""`steadygan data info` describes the data correctly."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steadygan.data.content import fingerprint
from steadygan.data.describe import SHEET_COLUMNS, SHEET_MARGIN, SHEET_SIDE, contact_sheet, describe
from steadygan.data.images import load_images
from steadygan.data.source import open_source
from steadygan.errors import UserError
from steadygan.recipes.advice import advice
from steadygan.recipes.look import look_at, summary


def noise(seed: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_everything_is_told(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"cat/{i}.png", noise(i))
    write(tmp_path / "dog/big.png", noise(0, 20, 30))
    write(tmp_path / "dog/copy.png", noise(1))
    write(tmp_path / "dog/small.png", np.full((5, 4), 7, np.uint8))
    (tmp_path / "dog/zero.png").write_bytes(b"")
    (tmp_path / "readme.txt").write_bytes(b"-")
    images = [noise(0), noise(1), noise(2), noise(0, 20, 30), noise(1), np.full((5, 4, 3), 7, np.uint8)]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]) / 255
    info = json.loads(json.dumps(describe(str(tmp_path))))
    assert info.pop("mean") == pytest.approx(pixels.mean(0).tolist(), abs=1e-5)
    assert info.pop("std") == pytest.approx(pixels.std(0).tolist(), abs=1e-5)
    assert info.pop("fingerprint") == fingerprint([i.transpose(2, 0, 1) for i in images], [0, 0, 0, 1, 1, 1])
    entropy = -(3 / 7 * np.log2(3 / 7) + 4 / 7 * np.log2(4 / 7))
    assert info.pop("balance") == {"smallest": 3, "largest": 4, "entropy": pytest.approx(entropy, abs=1e-4)}
    assert info.pop("proposal") == {"command": None, "domains": {}, "splits": {}}
    assert info == {
        "path": str(tmp_path),
        "layout": "class folders",
        "count": 7,
        "ignored": 1,
        "labelled": True,
        "classes": {"cat": 3, "dog": 4},
        "width_height": {"smallest": [4, 5], "largest": [30, 20], "most_common": [8, 8]},
        "median_side": 8,
        "pixel_modes": {"RGB": 5, "L": 1},
        "channels": 3,
        "duplicates": {"images": 1, "groups": [["cat/1.png", "dog/copy.png"]]},
        "unreadable": {"dog/zero.png": "not an image, as it is empty"},
        "moving": 0,
        "transparent": 0,
    }


def test_duplicates_are_of_pixels_not_of_files(tmp_path: Path) -> None:
    for name in ("a.png", "b.bmp", "c.webp"):
        Image.fromarray(noise(0)).save(tmp_path / name, **({"lossless": True} if name == "c.webp" else {}))
    write(tmp_path / "d.png", noise(0).reshape(4, 16, 3))
    assert describe(str(tmp_path))["duplicates"] == {"images": 2, "groups": [["a.png", "b.bmp", "c.webp"]]}


def test_the_fingerprint_of_squares_of_one_size_is_that_of_training(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"{i % 2}/{i}.png", noise(i))
    assert (
        describe(str(tmp_path))["fingerprint"] == load_images(open_source(str(tmp_path), size=8), range(4)).fingerprint
    )


def test_images_cut_elsewhere_have_another_fingerprint() -> None:
    images = [noise(0, 4, 6), noise(1, 4, 6), noise(2, 4, 6)]
    joined = np.concatenate(images).ravel()
    cuts = [(4, 6), (6, 4)], [(6, 4), (4, 6)], [(4, 6), (4, 6)], [(2, 6), (6, 6)]
    prints = set()
    for cut in cuts:
        sizes = [height * width * 3 for height, width in cut]
        parts = np.split(joined[: sum(sizes)], np.cumsum(sizes)[:-1])
        prints.add(fingerprint(part.reshape(*shape, 3) for part, shape in zip(parts, cut, strict=True)))
    assert len(prints) == len(cuts)


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    for i in range(24):
        write(tmp_path / f"{i:02}.png", np.full((512, 512, 3), 10 * i, np.uint8))
    describe(str(tmp_path), threads=1)
    tracemalloc.start()
    try:
        describe(str(tmp_path), threads=1)
        assert tracemalloc.get_traced_memory()[1] < 12 * 512 * 512 * 3
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["gif", "webp", "tif", "png"])
def test_files_of_several_images_are_counted_and_give_their_first(tmp_path: Path, kind: str) -> None:
    first, second = (Image.new("RGB", (8, 8), (level, 0, 0)) for level in (200, 100))
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second])
    first.save(tmp_path / f"b.{kind}")
    found = describe(str(tmp_path))
    assert (found["count"], found["moving"]) == (2, 1)
    assert found["mean"][0] == pytest.approx(200 / 255, abs=0.02)
    assert "files with several images (pages, frames): 1; the first image of each is used" in advice(
        summary(found, mirror=0.5)
    )


@pytest.mark.parametrize(
    "names", [("a/images/1.png", "a/masks/1.png", "b/2.png"), ("a/x/1.png", "a/y/2.png", "b/z/3.png")]
)
def test_folders_that_give_no_classes_are_told(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        write(tmp_path / name, noise(0))
    said = advice(summary(describe(str(tmp_path)), mirror=0.5))
    assert any("not used as classes, as not every image lies exactly one folder deep; for classes" in x for x in said)
    assert not any("depths" in line for line in said)


def test_late_colour_among_grey_images_is_neither_lost_nor_refused(tmp_path: Path) -> None:
    grey = Image.new("L", (8, 8), 90)
    for number in range(200):
        grey.save(tmp_path / f"{number:03}.png")
    assert describe(str(tmp_path))["channels"] == 1
    write(tmp_path / "065.png", noise(0))
    assert open_source(str(tmp_path), size=8).channels == 1, "the image is one of those that decide"
    found = describe(str(tmp_path))
    assert (found["channels"], len(found["mean"]), found["unreadable"]) == (3, 3, {})
    source = open_source(str(tmp_path), size=8, channels=3)
    assert found["fingerprint"] == load_images(source, range(200)).fingerprint
    contact_sheet(str(tmp_path), tmp_path / "sheet.png")
    assert look_at(str(tmp_path)).channels == 3, "data info and plan read it, too"


def test_sizes_of_one_area_are_two_sizes(tmp_path: Path) -> None:
    for name, extent in (("a", (8, 8)), ("b", (4, 16)), ("c", (16, 4))):
        Image.new("L", extent).save(tmp_path / f"{name}.png")
    sizes = describe(str(tmp_path))["width_height"]
    assert (sizes["smallest"], sizes["largest"]) == ((4, 16), (16, 4))


def test_nothing_readable_is_told_rather_than_a_crash(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    info = describe(str(tmp_path))
    assert (info["width_height"], info["mean"], list(info["unreadable"])) == ({}, [], ["a.png"])


def test_the_embedded_data_are_known() -> None:
    info = describe("digits")
    assert (info["count"], info["layout"], info["channels"]) == (1797, "embedded", 1)
    assert sum(info["classes"].values()) == 1797
    assert info["balance"]["entropy"] > 0.99
    assert describe("stacked-digits")["labelled"] is False


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    for i in range(5):
        write(tmp_path / f"{i}.png", noise(i))
    told: list[tuple[int, int]] = []
    describe(str(tmp_path), progress=lambda *done: told.append(done))
    assert told == [(i + 1, 5) for i in range(5)]


def cell(sheet: Image.Image, row: int, column: int, margin: int) -> np.ndarray:
    left, top = margin + 2 + column * (SHEET_SIDE + 2), 2 + row * (SHEET_SIDE + 2)
    return np.asarray(sheet.crop((left, top, left + SHEET_SIDE, top + SHEET_SIDE)))


def test_a_contact_sheet_has_a_row_for_each_class(tmp_path: Path) -> None:
    for i, name in enumerate(("ant", "bee")):
        for j in range(3):
            write(tmp_path / f"data/{name}/{j}.png", np.full((8, 8, 3), 50 * i + j, np.uint8))
    (tmp_path / "data/ant/broken.png").write_bytes(b"")
    out = contact_sheet(str(tmp_path / "data"), tmp_path / "sheet.png")
    sheet = Image.open(out)
    assert sheet.size == (SHEET_MARGIN + 2 + SHEET_COLUMNS * (SHEET_SIDE + 2), 2 + 2 * (SHEET_SIDE + 2))
    for row in range(2):
        assert [int(cell(sheet, row, j, SHEET_MARGIN).max()) for j in range(4)] == [50 * row + j for j in range(3)] + [
            255
        ]
    names = np.asarray(sheet)[:, : SHEET_MARGIN - 4]
    assert (names[:SHEET_SIDE] < 128).any()
    assert (names[SHEET_SIDE:] < 128).any()


def test_a_contact_sheet_without_classes_is_spread_over_the_set(tmp_path: Path) -> None:
    for i in range(250):
        write(tmp_path / f"data/{i:03}.png", np.full((8, 8), i, np.uint8))
    sheet = Image.open(contact_sheet(str(tmp_path / "data"), tmp_path / "sheet.png"))
    shown = [int(cell(sheet, row, column, 0).max()) for row in range(10) for column in range(10)]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, 249)


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        contact_sheet("digits", tmp_path / "nowhere" / "sheet.png")
