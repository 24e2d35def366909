"""The consistency augmentation against a loop over images, its draws read off transformed coordinates."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from steadygan.errors import UserError
from steadygan.transforms.consistency import Consistency

SIDE = 16


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(count: int, side: int = SIDE) -> torch.Tensor:
    """Images whose two channels are the row and column of each pixel, from 1, so that 0 means "filled"."""
    row, column = torch.meshgrid(torch.arange(1.0, side + 1), torch.arange(1.0, side + 1), indexing="ij")
    return torch.stack([row, column]).expand(count, 2, side, side).contiguous()


def recover(image: np.ndarray) -> tuple[bool, int, int]:
    """(flipped, rows moved down, columns moved right) of a coordinate image, from its middle 2×2."""
    middle = image.shape[-1] // 2
    row, column = image[0, middle, middle] - 1, image[1, middle, middle] - 1
    flipped = image[1, middle, middle + 1] < image[1, middle, middle]
    source = image.shape[-1] - 1 - column if flipped else column
    return bool(flipped), int(middle - row), int(middle - source)


def loop(image: np.ndarray, flipped: bool, down: int, right: int, padding: str) -> np.ndarray:
    """The same by padding and slicing with numpy."""
    side = image.shape[-1]
    if flipped:
        image = image[:, :, ::-1]
    mode = {"reflect": "reflect", "zero": "constant"}[padding]
    border = side // 2
    padded = np.pad(image, ((0, 0), (border, border), (border, border)), mode=mode)
    return padded[:, border - down : border - down + side, border - right : border - right + side]


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize(("flip", "shift"), [(0.5, 0.0), (0.0, 0.25), (0.5, 0.25), (1.0, 0.125)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_flip_and_shift_equal_a_loop_over_images(
    padding: str, flip: float, shift: float, memory_format: torch.memory_format
) -> None:
    transform = Consistency(flip=flip, shift=shift, padding=padding)
    traced = transform(coordinates(64), rng())
    parameters = [recover(image) for image in traced.numpy()]
    x = torch.randn(64, 3, SIDE, SIDE, generator=rng(1)).to(memory_format=memory_format)
    actual = transform(x, rng())
    expected = np.stack([loop(x[i].numpy(), *parameters[i], padding) for i in range(64)])
    np.testing.assert_array_equal(actual.numpy(), expected)
    assert actual.is_contiguous(memory_format=memory_format)
    assert actual.dtype == x.dtype


def test_shifts_are_uniform_over_the_stated_range_on_each_axis() -> None:
    traced = Consistency(flip=0, shift=0.125)(coordinates(4500, side=32), rng())
    moves = [recover(image)[1:] for image in traced.numpy()]
    for axis in (0, 1):
        counts = Counter(move[axis] for move in moves)
        assert set(counts) == set(range(-4, 5))
        # 4500 draws over 9 values: 500 each, standard deviation 21.
        assert all(abs(count - 500) < 100 for count in counts.values())
    assert len(set(moves)) == 81


@pytest.mark.parametrize("flip", [0.0, 0.3, 1.0])
def test_flips_happen_with_the_given_probability(flip: float) -> None:
    traced = Consistency(flip=flip, shift=0)(coordinates(2000, side=4), rng())
    share = np.mean([recover(image)[0] for image in traced.numpy()])
    # The standard deviation of the share is at most 0.0112.
    assert abs(share - flip) <= (0.045 if 0 < flip < 1 else 0)


@pytest.mark.parametrize("cutout", [0.25, 0.3125, 0.5])
def test_cutout_erases_one_square_with_a_uniform_centre(cutout: float) -> None:
    length = int(cutout * SIDE + 0.5)
    x = coordinates(3000)
    out = Consistency(flip=0, shift=0, cutout=cutout)(x, rng()).numpy()
    starts = []
    for before, after in zip(x.numpy(), out, strict=True):
        erased = (after == 0).all(0)
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        rectangle = np.outer(erased.any(1), erased.any(0))
        np.testing.assert_array_equal(erased, rectangle)
        np.testing.assert_array_equal(after[:, ~erased], before[:, ~erased])
        for places in (rows, columns):
            np.testing.assert_array_equal(places, np.arange(places[0], places[-1] + 1))
            # A square that hangs over an edge is cut off there, and at most half of it hangs over.
            assert len(places) == length or places[0] == 0 or places[-1] == SIDE - 1
            assert length // 2 <= len(places) <= length
        starts.append(tuple(int(p[-1]) + 1 - length if p[0] == 0 else int(p[0]) for p in (rows, columns)))
    positions = SIDE + 1 - length % 2
    for axis in (0, 1):
        counts = Counter(start[axis] for start in starts)
        assert set(counts) == set(range(-(length // 2), -(length // 2) + positions))
        mean = 3000 / positions
        assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values())


def test_cutout_comes_after_flip_and_shift() -> None:
    x = coordinates(32)
    moved = Consistency(cutout=0)(x, rng())
    both = Consistency(cutout=0.5)(x, rng())
    erased = (both == 0).all(1, keepdim=True)
    assert torch.equal(both, moved.masked_fill(erased, 0))
    assert bool(erased.flatten(1).any(1).all())


def test_images_of_one_batch_are_transformed_independently() -> None:
    traced = Consistency()(coordinates(400, side=32), rng())
    drawn = np.array([recover(image) for image in traced.numpy()], dtype=float)
    assert len(np.unique(drawn, axis=0)) > 100
    between = np.corrcoef(drawn, rowvar=False) - np.eye(3)
    neighbours = [np.corrcoef(drawn[:-1, i], drawn[1:, i])[0, 1] for i in range(3)]
    # The standard deviation of a correlation over 400 independent pairs is 0.05.
    assert np.abs(between).max() < 0.2
    assert np.abs(neighbours).max() < 0.2


def test_same_generator_state_gives_the_same_draw_and_a_later_one_another() -> None:
    transform, x = Consistency(cutout=0.5), torch.randn(8, 1, SIDE, SIDE, generator=rng(1))
    generator = rng(5)
    first, second = transform(x, generator), transform(x, generator)
    assert torch.equal(transform(x, rng(5)), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_transform_is_differentiable_twice(padding: str, memory_format: torch.memory_format) -> None:
    transform = Consistency(shift=0.5, cutout=0.4, padding=padding)
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=rng(1)).to(memory_format=memory_format)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: transform(t, rng()), (x,))
    assert torch.autograd.gradgradcheck(lambda t: transform(t, rng()).pow(3), (x,))


def test_float64_and_bfloat16_see_the_same_draw() -> None:
    x = torch.randn(4, 3, SIDE, SIDE, generator=rng(1)).to(torch.bfloat16)
    low, high = Consistency(cutout=0.3)(x, rng()), Consistency(cutout=0.3)(x.double(), rng())
    assert low.dtype == torch.bfloat16
    assert high.dtype == torch.float64
    assert torch.equal(low.double(), high)


def test_nothing_switched_on_is_the_identity() -> None:
    x = torch.randn(2, 3, SIDE, SIDE, generator=rng(1))
    assert torch.equal(Consistency(flip=0, shift=0, cutout=0)(x, rng()), x)


def test_equal_transforms_are_one_dictionary_key() -> None:
    assert {Consistency(): 1}[Consistency(flip=0.5)] == 1
    assert Consistency() != Consistency(padding="zero")


@pytest.mark.parametrize(
    ("key", "value"),
    [("flip", -0.1), ("flip", 1.5), ("shift", 0.6), ("cutout", float("nan")), ("padding", "wrap")],
)
def test_values_out_of_range_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"^{key} must be"):
        Consistency(**{key: value})
