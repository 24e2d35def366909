"""DiffAugment's distributions, order and gradients."""

from __future__ import annotations

import pytest
import torch

from steadygan.errors import UserError
from steadygan.transforms.diffaugment import DiffAugment, color


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 6, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=generator(7), dtype=torch.float64) * 2 - 1


def test_brightness_moves_a_grey_image_by_at_most_a_half_and_fills_that_range() -> None:
    """On a constant image saturation and contrast have nothing to act on, so only brightness is left."""
    moved = color(torch.zeros(4000, 3, 2, 2), generator())
    offset = moved[:, 0, 0, 0]
    assert torch.allclose(moved, offset[:, None, None, None].expand_as(moved), atol=1e-6)
    assert -0.5 <= offset.min() < -0.49
    assert 0.49 < offset.max() <= 0.5
    assert abs(offset.mean()) < 0.02


def test_saturation_scales_the_distance_from_the_pixel_mean_by_zero_to_two() -> None:
    """With one pixel of zero mean the image mean is the pixel mean, so contrast multiplies saturation's factor."""
    x = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64).view(1, 3, 1, 1).expand(8000, -1, -1, -1)
    moved = color(x, generator())
    factor = (moved[:, 2] - moved[:, 0]).flatten()
    assert factor.min() >= 0
    assert 2.5 < factor.max() <= 3  # 2 · 1.5
    assert abs(factor.mean() - 1) < 0.03  # E U(0, 2) · E U(0.5, 1.5)


def test_contrast_of_a_grey_image_scales_the_distance_from_the_image_mean_by_a_half_to_one_and_a_half() -> None:
    x = torch.tensor([[-0.5, 0.5]], dtype=torch.float64).view(1, 1, 1, 2).expand(8000, -1, -1, -1)
    moved = color(x, generator())
    factor = (moved[..., 1] - moved[..., 0]).flatten()
    assert 0.5 <= factor.min() < 0.51
    assert 1.49 < factor.max() <= 1.5


def test_nothing_is_clamped() -> None:
    assert color(torch.ones(200, 3, 4, 4), generator()).max() > 1.3


def test_translation_fills_with_zero_and_moves_by_at_most_an_eighth() -> None:
    x = torch.zeros(500, 1, 32, 32)
    x[:, :, 16, 16] = 1
    places = DiffAugment(("translation",))(x, generator()).flatten(1).argmax(1)
    rows, columns = places // 32 - 16, places % 32 - 16
    assert set(rows.tolist()) == set(range(-4, 5))
    assert set(columns.tolist()) == set(range(-4, 5))
    shifted = DiffAugment(("translation",))(torch.ones(50, 1, 32, 32), generator())
    assert set(shifted.unique().tolist()) == {0.0, 1.0}


def test_cutout_takes_a_quarter_of_the_image_at_most_and_less_at_the_edge() -> None:
    cut = 1 - DiffAugment(("cutout",))(torch.ones(2000, 1, 32, 32), generator()).mean((1, 2, 3))
    assert cut.max() == 0.25
    assert cut.min() == pytest.approx((8 / 32) ** 2, abs=0.03)


def test_policies_act_in_the_order_given() -> None:
    """Cutout after color leaves exact zeros; before it, brightness lifts them."""
    x = images(side=16)
    last = DiffAugment(("color", "cutout"))(x, generator())
    first = DiffAugment(("cutout", "color"))(x, generator())
    assert (last == 0).any()
    assert not (first == 0).any()


def test_every_image_is_drawn_on_its_own_and_a_generator_repeats_it() -> None:
    x = images(1, side=16).expand(5, -1, -1, -1)
    everything = DiffAugment(("color", "translation", "cutout"))
    out = everything(x, generator(3))
    assert all(not torch.equal(out[0], other) for other in out[1:])
    assert torch.equal(out, everything(x, generator(3)))


def brightness_of(x: torch.Tensor) -> torch.Tensor:
    return x.mean((1, 2, 3))


def shifts_of(x: torch.Tensor) -> torch.Tensor:
    """Where the one bright pixel, at first in the middle, went (N, 2)."""
    place, side = x[:, 0].flatten(1).argmax(1), x.shape[-1]
    return torch.stack([place // side, place % side], 1) - side // 2


def cut_corners_of(x: torch.Tensor) -> torch.Tensor:
    """First row and column that the grey square covers (N, 2)."""
    cut = x[:, 0] == 0
    return torch.stack([cut.any(2).int().argmax(1), cut.any(1).int().argmax(1)], 1)


def frequencies(values: torch.Tensor) -> torch.Tensor:
    return torch.unique(values, dim=0, return_counts=True)[1] / len(values)


def test_brightness_is_uniform_and_images_do_not_share_it() -> None:
    draws = brightness_of(color(torch.zeros(20_000, 3, 2, 2), generator())) + 0.5
    ranks = (torch.arange(len(draws)) + 0.5) / len(draws)
    assert (draws.sort().values - ranks).abs().max() < 1.63 / len(draws) ** 0.5  # Kolmogorov-Smirnov at 1 %
    assert abs(torch.corrcoef(torch.stack([draws[:-1], draws[1:]]))[0, 1]) < 0.03


def test_shifts_are_uniform_in_the_plane_and_images_do_not_share_them() -> None:
    x = torch.zeros(20_000, 1, 16, 16)
    x[:, :, 8, 8] = 1
    shifts = shifts_of(DiffAugment(("translation",))(x, generator()))
    share = frequencies(shifts)
    assert len(share) == 25  # ±2 along each axis
    assert (share - 1 / 25).abs().max() < 0.006
    together = frequencies(torch.cat([shifts[:-1:2, :1], shifts[1::2, :1]], 1))
    assert len(together) == 25
    assert (together - 1 / 25).abs().max() < 0.008


def test_the_square_is_anywhere_and_images_do_not_share_it() -> None:
    """A square of 4 in 8 pixels has its centre in one of 9 places an axis; in three of them it begins at 0."""
    corners = cut_corners_of(DiffAugment(("cutout",))(torch.ones(20_000, 1, 8, 8), generator()))
    expected = torch.tensor([3, 1, 1, 1, 1, 1, 1]) / 9
    for axis in (0, 1):
        assert (frequencies(corners[:, axis]) - expected).abs().max() < 0.012
    joint = frequencies(torch.cat([corners[:-1:2, :1], corners[1::2, :1]], 1)).view(7, 7)
    assert (joint - expected[:, None] * expected).abs().max() < 0.012
    planar = frequencies(corners).view(7, 7)
    assert (planar - expected[:, None] * expected).abs().max() < 0.012


def test_the_gradient_reaches_the_image_through_every_policy() -> None:
    x = images(2, side=4).requires_grad_()
    everything = DiffAugment(("color", "translation", "cutout"))
    assert torch.autograd.gradcheck(lambda x: everything(x, generator(1)), x)


def test_an_unknown_policy_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'colour'.*'color'"):
        DiffAugment(("colour",))
