"""Nearest neighbours in chunks, against all at once."""

from __future__ import annotations

import pytest
import torch

from steadygan.metrics.neighbours import nearest


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_the_nearest_over_parts_are_the_nearest_of_all(chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, rows = torch.randn(4, 5, generator=generator), torch.randn(50, 5, generator=generator)
    found = nearest(queries, rows.split(chunk), 3)
    distances = (queries[:, None] - rows).square().sum(2).sqrt()
    expected = distances.sort(dim=1)
    torch.testing.assert_close(found.distances, expected.values[:, :3])
    assert torch.equal(found.indices, expected.indices[:, :3])


def test_a_copy_is_at_distance_zero_however_large_its_numbers() -> None:
    """The usual expansion into a matrix product loses it among 3 · 128² squares of up to 255²."""
    rows = torch.randint(256, (20, 3 * 128**2), generator=torch.Generator().manual_seed(0)).float()
    found = nearest(rows[13:14].clone(), rows.split(6), 2)
    assert (found.distances[0, 0].item(), found.indices[0, 0].item()) == (0.0, 13)


def test_of_equally_near_rows_the_first_counts() -> None:
    found = nearest(torch.zeros(1, 2), torch.ones(6, 2).split(2), 3)
    assert found.indices.tolist() == [[0, 1, 2]]


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="the 3 nearest of 2"):
        nearest(torch.zeros(1, 2), [torch.zeros(2, 2)], 3)
