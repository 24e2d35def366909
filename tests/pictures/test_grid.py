"""Sheets of samples: each class has its columns, with its name above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from steadygan.pictures.grid import columns_for, grid, save_grid, with_names
from steadygan.pictures.scale import enlargement, plain
from steadygan.pictures.stamp import Stamp, read_stamp


@pytest.mark.parametrize(
    ("num", "classes", "columns"),
    [(64, 0, 8), (64, 3, 6), (64, 2, 8), (64, 10, 10), (5, 10, 5), (64, 1, 8), (64, 100, 8), (1, 3, 1), (4, 3, 4)],
)
def test_columns_are_whole_turns_of_the_classes(num: int, classes: int, columns: int) -> None:
    assert columns_for(num, classes) == columns


@pytest.mark.parametrize("names", [["a", "b", "c"], ["a quite long name", "b", "c"]])
def test_names_stand_above_an_unchanged_sheet(names: list[str]) -> None:
    images = torch.randint(256, (12, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sheet = grid(images, 6)
    named = with_names(sheet, names, 6)

    head = np.asarray(named)[: named.height - sheet.height]
    np.testing.assert_array_equal(np.asarray(named)[named.height - sheet.height :], np.asarray(sheet))
    sides = [head[:, 2 + column * 22 : 22 + column * 22] for column in range(6)]
    assert all(side.min() < 128 for side in sides)
    for column in range(3):
        np.testing.assert_array_equal(sides[column], sides[column + 3])
    assert not np.array_equal(sides[0], sides[1])


def test_small_images_are_enlarged_pixel_for_pixel_and_led_back(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stamp = Stamp("0", "", "run", 1, "ema", "sample", {"num": 12}, columns=6)
    path = save_grid(images, tmp_path / "sheet.png", 6, stamp, ["cat", "a long name of a class"] * 3)
    with Image.open(path) as sheet:
        read = read_stamp(path)
        assert read.enlarged == 4
        assert read.top > 0
        assert sheet.size == (4 * (6 * 34 + 2), 4 * (2 * 34 + 2) + read.top)
        assert plain(sheet.convert("RGB"), read).tobytes() == grid(images, 6).tobytes()


@pytest.mark.parametrize(("side", "columns", "times"), [(32, 10, 3), (64, 8, 2), (64, 16, 1), (128, 4, 1), (8, 1, 16)])
def test_a_sheet_is_as_large_as_one_can_look_at(side: int, columns: int, times: int) -> None:
    assert enlargement(side, columns) == times
