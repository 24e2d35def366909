"""ADA's operations against their definitions, the identity at p = 0, derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError
from steadygan.transforms import ADA, Chain, Controller, DiffAugment
from steadygan.transforms.ada import DEFAULT, GROUPS, SPECTRUM, Draw, filter_bank, placement, strengths
from steadygan.transforms.warp import SYM6, warp

pytestmark = pytest.mark.usefixtures("float64")

ALL = dict.fromkeys(GROUPS, 1.0)


def apply(x: Tensor, ops: Mapping[str, float], p: float = 1.0, seed: int = 0) -> Tensor:
    return ADA(Controller(p=p), strengths(ops))(x, torch.Generator().manual_seed(seed))


def smooth(n: int, channels: int, side: int) -> Tensor:
    """Images without fine detail, on which a filtered warp errs little."""
    x = torch.randn(n, channels, 4, 4, generator=torch.Generator().manual_seed(3))
    return F.interpolate(x, size=(side, side), mode="bicubic", align_corners=True).clamp(-1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_at_p_zero_it_is_the_identity_to_the_bit(channels: int) -> None:
    x = torch.randn(5, channels, 12, 12, dtype=torch.float32)
    assert torch.equal(apply(x, ALL, p=0.0), x)
    assert apply(x, ALL, p=0.0).dtype == torch.float32


def test_an_image_that_no_operation_hits_stays_to_the_bit() -> None:
    x = torch.randn(64, 3, 8, 8)
    same = (apply(x, {"blit": 1, "color": 1}, p=0.1) == x).flatten(1).all(1)
    # 3 of 8 gates change nothing with the value drawn: a flip that doesn't, a turn by 0, a luma flip that doesn't.
    hit = 1 - (1 - 0.1 / 2) ** 2 * (1 - 0.1 * 3 / 4) * (1 - 0.1) ** 5
    assert float(same.double().mean()) == pytest.approx(1 - hit, abs=3 * math.sqrt(hit * (1 - hit) / 64))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[-1.0, 0, 0], [0, 1, 0]], lambda x: x.flip(3)),
        ([[0.0, -1, 0], [1, 0, 0]], lambda x: x.rot90(1, (2, 3))),
        ([[-1.0, 0, 0], [0, -1, 0]], lambda x: x.rot90(2, (2, 3))),
        ([[1.0, 0, -3], [0, 1, 2]], lambda x: F.pad(x, (3, 0, 0, 2), mode="reflect")[:, :, 2:, :-3]),
    ],
    ids=["flip", "quarter turn", "half turn", "shift"],
)
def test_a_warp_by_whole_pixels_moves_them_where_they_belong(matrix: list[list[float]], expected: object) -> None:
    x = smooth(2, 3, 32)
    inverse = torch.tensor([*matrix, [0, 0, 1]]).expand(2, 3, 3)
    wanted = expected(x)  # type: ignore[operator]
    torch.testing.assert_close(warp(x, inverse)[..., 4:-4, 4:-4], wanted[..., 4:-4, 4:-4], atol=0.06, rtol=0)


def test_a_warp_keeps_a_constant_image_as_far_as_the_mirrored_image_reaches() -> None:
    angle = torch.tensor(0.7)
    c, s = angle.cos(), angle.sin()
    inverse = torch.tensor([[c, -s, 5], [s, c, -4], [0, 0, 1]])[None]
    torch.testing.assert_close(warp(torch.ones(1, 2, 16, 16), inverse), torch.ones(1, 2, 16, 16), atol=1e-3, rtol=0)
    far = torch.tensor([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]])[None]
    assert float(warp(torch.ones(1, 1, 8, 8), far).abs().max()) == 0


def test_the_sixth_symlet_is_an_orthogonal_wavelet() -> None:
    taps = torch.tensor(SYM6)
    assert float(taps.sum()) == pytest.approx(math.sqrt(2), abs=1e-10)
    assert float(taps.square().sum()) == pytest.approx(1, abs=1e-10)
    for shift in range(2, 12, 2):
        assert float((taps[shift:] * taps[:-shift]).sum()) == pytest.approx(0, abs=1e-10)


def moves(ops: Mapping[str, float], p: float, n: int = 40000, side: int = 64) -> Tensor:
    """The matrices of geometry that are drawn (N, 3, 3)."""
    draw = Draw(strengths(ops), torch.tensor(p), n, torch.Generator().manual_seed(0), torch.float64)
    return placement(draw, side, side)


def test_the_law_of_blitting() -> None:
    flips = moves({"xflip": 1}, 0.6)[:, 0, 0]
    assert float((flips == -1).double().mean()) == pytest.approx(0.3, abs=0.01)
    turns = moves({"rotate90": 1}, 0.8)
    for c, s, share in ((1, 0, 0.4), (0, 1, 0.2), (-1, 0, 0.2), (0, -1, 0.2)):
        found = (turns[:, 0, 0] == c) & (turns[:, 1, 0] == s)
        assert float(found.double().mean()) == pytest.approx(share, abs=0.01)
    shifts = moves({"xint": 1}, 0.5)[:, :2, 2]
    assert torch.equal(shifts, shifts.round())
    assert float(shifts.abs().max()) == 8
    moved = shifts[(shifts != 0).any(1)]
    assert float(len(moved)) / 40000 == pytest.approx(0.5, abs=0.01)
    assert float(moved.var()) == pytest.approx(64 / 3, rel=0.05)


def test_the_law_of_geometry() -> None:
    scale = moves({"scale": 1}, 1.0)
    logs = -scale[:, 0, 0].log2()
    assert torch.equal(scale[:, 0, 0], scale[:, 1, 1])
    assert (float(logs.mean()), float(logs.std())) == pytest.approx((0, 0.2), abs=0.005)
    aniso = moves({"aniso": 1}, 1.0)
    torch.testing.assert_close(aniso[:, 0, 0] * aniso[:, 1, 1], torch.ones(40000))
    assert float(aniso[:, 0, 0].log2().std()) == pytest.approx(0.2, abs=0.005)
    turned = moves({"rotate": 1}, 0.6)
    still = (turned[:, 0, 0] == 1).double().mean()
    assert float(still) == pytest.approx(0.4, abs=0.01)
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])[turned[:, 0, 0] != 1]
    assert float(angles.square().mean()) == pytest.approx(math.pi**2 / 3, rel=0.03)
    shift = moves({"xfrac": 1}, 0.5)[:, :2, 2]
    assert float(shift[(shift != 0).any(1)].std()) == pytest.approx(64 / 8, rel=0.02)


def color_of(op: str, p: float = 1.0, n: int = 20000) -> Tensor:
    """The transformed red, green, blue and black pixels (N, colour, pixel)."""
    pixels = torch.cat([torch.eye(3), torch.zeros(3, 1)], 1).view(1, 3, 2, 2).expand(n, -1, -1, -1)
    return apply(pixels, {op: 1}, p).flatten(2)


def test_the_law_of_colour() -> None:
    black = color_of("brightness")[:, :, 3]
    assert torch.equal(black[:, 0], black[:, 2])
    assert float(black[:, 0].std()) == pytest.approx(0.2, rel=0.02)
    contrast = color_of("contrast")
    assert float(contrast[:, 0, 0].log2().std()) == pytest.approx(0.5, rel=0.02)
    assert float(contrast[:, :, 3].abs().max()) == 0
    flipped = color_of("lumaflip", 0.5)
    grey = flipped[:, :, :3].sum(2)  # the transformed white: 1, or -1 where the luma is flipped
    torch.testing.assert_close(grey.abs(), torch.ones_like(grey))
    assert float((grey[:, 0] < 0).double().mean()) == pytest.approx(0.25, abs=0.01)
    hue = color_of("hue")
    turn = hue[:, :, :3]
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand_as(turn))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(len(turn)))
    torch.testing.assert_close(turn.sum(2), torch.ones(len(turn), 3))
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert float(cosine.mean()) == pytest.approx(0, abs=0.02)
    assert float(cosine.square().mean()) == pytest.approx(0.5, abs=0.02)
    red = color_of("saturation")[:, :, 0]
    assert float(((red - 1 / 3)[:, 0] / (2 / 3)).log2().std()) == pytest.approx(1, rel=0.02)
    torch.testing.assert_close(red.sum(1), torch.ones(len(red)))


def test_grey_images_keep_their_grey_under_hue_and_saturation_and_two_channels_are_refused() -> None:
    x = torch.randn(4, 1, 3, 3)
    assert torch.equal(apply(x, {"hue": 1, "saturation": 1}), x)
    assert not torch.equal(apply(x, {"brightness": 1}), x)
    with pytest.raises(UserError, match="1 or 3 channels, not 2"):
        apply(torch.randn(4, 2, 3, 3), {"color": 1})


def test_the_bands_sum_to_the_image_and_each_holds_its_frequencies() -> None:
    bank = filter_bank(torch.float64, torch.device("cpu"))
    impulse = F.one_hot(torch.tensor(bank.shape[1] // 2), bank.shape[1]).double()
    torch.testing.assert_close(bank.sum(0), impulse, atol=1e-12, rtol=0)
    torch.testing.assert_close(bank, bank.flip(1), atol=1e-12, rtol=0)
    response = torch.fft.rfft(bank, 512).abs()
    centres = response.square() @ torch.arange(257.0) / response.square().sum(1)
    for i, (low, high) in enumerate(((0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1))):
        assert 256 * low < float(centres[i]) < 256 * high


def test_the_amplified_bands_keep_the_expected_power() -> None:
    """White noise in each band, weighted by the spectrum of natural images, has on average the power it had."""
    assert sum(SPECTRUM) == pytest.approx(1)
    x = torch.ones(2000, 1, 4, 4)
    gain = apply(x, {"filter": 1})[:, 0, 0, 0]  # of the lowest band, squared along two axes
    assert float(gain.max()) <= (13 / 10) ** 4 + 1e-9
    assert float(gain.min()) > 0
    torch.testing.assert_close(apply(x, {"filter": 1}), gain.view(-1, 1, 1, 1).expand_as(x))


def test_the_laws_of_noise_and_cutout() -> None:
    noise = apply(torch.zeros(4000, 1, 8, 8), {"noise": 1}, 0.5).flatten(1)
    hit = noise[(noise != 0).any(1)]
    assert len(hit) / 4000 == pytest.approx(0.5, abs=0.03)
    assert float(hit.square().mean()) == pytest.approx(0.01, rel=0.06)
    cut = apply(torch.ones(4000, 1, 16, 16), {"cutout": 1}, 0.5)
    struck = (cut == 0).flatten(1)
    assert float(struck.any(1).double().mean()) == pytest.approx(0.5, abs=0.03)
    assert int(struck.sum(1).max()) == 64
    # Along an axis a box of half the side, centred uniformly, lies inside with 7/16 of the side on average.
    assert float(struck.double().mean()) == pytest.approx(0.5 * (7 / 16) ** 2, rel=0.06)


@pytest.mark.parametrize("op", [*GROUPS, "rotate"])
def test_it_is_differentiable_twice(op: str) -> None:
    x = torch.randn(2, 3, 5, 5, requires_grad=True)

    def squared(x: Tensor) -> Tensor:
        return apply(x, {op: 1}, seed=4).square()

    assert torch.autograd.gradcheck(squared, (x,))
    assert torch.autograd.gradgradcheck(squared, (x,))


def test_strengths_are_by_group_or_operation_and_the_later_wins() -> None:
    assert strengths({"color": 0.5, "hue": 1, "cutout": 0}) == {
        "brightness": 0.5,
        "contrast": 0.5,
        "lumaflip": 0.5,
        "hue": 1,
        "saturation": 0.5,
    }
    assert len(strengths(DEFAULT)) == 12
    with pytest.raises(UserError, match=r"augment\.ada\.ops: unknown 'colour'.*did you mean 'color'"):
        strengths({"colour": 1})


def test_several_transforms_follow_each_other() -> None:
    first, second = DiffAugment(("color", "cutout")), ADA(Controller(p=1.0), strengths(DEFAULT))
    x, a, b = torch.randn(3, 3, 8, 8), torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(Chain((first, second))(x, a), second(first(x, b), b))
