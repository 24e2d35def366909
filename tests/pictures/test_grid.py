"""Sheets of samples: a class keeps its columns, and its name stands above them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steadygan.pictures.grid import columns_for, grid, with_names


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
