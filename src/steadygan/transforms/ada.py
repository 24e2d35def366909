"""Adaptive discriminator augmentation: the pipeline (Karras et al., ADA, NeurIPS 2020, appendix B).

Each operation is drawn independently for each image and applied with probability p times its strength. Geometry is one
matrix per image, applied by one filtered warp; colour is one 4×4 matrix. Images without any operation are unchanged bit
for bit: at p = 0 the pipeline is the identity. Everything is differentiable with respect to the images, any number of
times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from steadygan.errors import UserError, nearest
from steadygan.parallel.share import rows
from steadygan.transforms.adaptive import Controller
from steadygan.transforms.constants import constant
from steadygan.transforms.warp import warp

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "blit": ("xflip", "rotate90", "xint"),
        "geometric": ("scale", "rotate", "aniso", "xfrac"),
        "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
        "filter": ("imgfilter",),
        "noise": ("noise",),
        "cutout": ("cutout",),
    }
)
"""Operations by group, in order of application."""

ABOUT: Mapping[str, str] = MappingProxyType(
    {
        "xflip": "mirror",
        "rotate90": "rotate by a multiple of 90°",
        "xint": "shift by whole pixels, up to 1/8 of the side",
        "scale": "scale by 2^N(0, 0.2²)",
        "rotate": "rotate by any angle",
        "aniso": "stretch by 2^N(0, 0.2²) along one axis",
        "xfrac": "shift by N(0, 1/8²) of the side",
        "brightness": "add N(0, 0.2²) to all colours",
        "contrast": "multiply by 2^N(0, 0.5²)",
        "lumaflip": "invert the luma",
        "hue": "rotate the hue by any angle",
        "saturation": "multiply the saturation by 2^N(0, 1)",
        "imgfilter": "amplify frequency bands by 2^N(0, 1), at constant power",
        "noise": "add noise of standard deviation |N(0, 0.1²)|",
        "cutout": "erase a square of half the side",
    }
)
"""Description of each operation."""

DEFAULT: Mapping[str, float] = MappingProxyType({"blit": 1.0, "geometric": 1.0, "color": 1.0})
"""The paper's default: blitting, geometry and colour, all at strength 1."""

SYM2 = [(1 - math.sqrt(3)), (3 - math.sqrt(3)), (3 + math.sqrt(3)), (1 + math.sqrt(3))]
"""The low-pass filter of the second symlet, times 4√2."""

SPECTRUM = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""The share of each frequency band in the power of natural images (appendix B, 1/f)."""


def strengths(ops: Mapping[str, float]) -> dict[str, float]:
    """The strength of each operation from names of operations and groups; later entries win. Raises `UserError`."""
    single = [name for names in GROUPS.values() for name in names]
    found: dict[str, float] = {}
    for name, strength in ops.items():
        if name not in GROUPS and name not in single:
            raise UserError(f"augment.ada.ops: unknown {name!r}; {nearest(name, [*GROUPS, *single])}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)), strength)
    return {name: found[name] for name in single if found.get(name)}


@dataclass(frozen=True, eq=False)
class ADA:
    """T of D(T(x)) and D(T(G(z))), with the probability of `controller`.

    Attributes:
        ops: strengths by operation (`strengths`). The ranges are the paper's: integer shifts of up to ±1/8 of the side,
            scales 2^N(0, 0.2²), any angle, fractional shifts N(0, (1/8)²) of the side; brightness N(0, 0.2²), contrast
            2^N(0, 0.5²), luma flips, any hue, saturation 2^N(0, 1); bands amplified by 2^N(0, 1) at constant power;
            noise of deviation |N(0, 0.1²)|; a black (mid-grey, 0) rectangle of half the side.
    """

    controller: Controller
    ops: Mapping[str, float]

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x: (N, 1 or 3, H, W) floating in [-1, 1]; generator: on x's device. Same shape; can leave [-1, 1].

        Does not synchronise with the device. Raises UserError for another number of channels if colour is transformed.
        """
        draw = Draw(self.ops, self.controller.p.to(x.dtype), len(x), generator, x.dtype)
        for stage in (_geometry, _color, _bands, _noise, _cutout):
            x = stage(x, draw)
        return x


@dataclass
class Draw:
    """Random numbers for n images: for each operation its values, then its gate."""

    ops: Mapping[str, float]
    p: Tensor
    n: int
    generator: torch.Generator
    dtype: torch.dtype

    def __contains__(self, op: str) -> bool:
        return op in self.ops

    def uniform(self, *shape: int) -> Tensor:
        """U(0, 1), (N, *shape)."""
        return rows(torch.rand, (self.n, *shape), self.generator, dtype=self.dtype)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), (N, *shape)."""
        return rows(torch.randn, (self.n, *shape), self.generator, dtype=self.dtype)

    def gate(self, op: str, chance: Tensor | None = None) -> Tensor:
        """Mask of the images to which the operation is applied (N,)."""
        return self.uniform() < (self.ops[op] * self.p if chance is None else chance)


def _geometry(x: Tensor, draw: Draw) -> Tensor:
    if not any(op in draw for op in (*GROUPS["blit"], *GROUPS["geometric"])):
        return x
    inverse = placement(draw, *x.shape[2:])
    return _where_moved(inverse, warp(x, inverse), x)


def placement(draw: Draw, height: int, width: int) -> Tensor:
    """Blitting and geometry: matrices from output to input positions, in pixels from the centre (N, 3, 3)."""
    one = torch.ones(draw.n, dtype=draw.dtype, device=draw.p.device)
    zero, inverse = torch.zeros_like(one), torch.eye(3, dtype=one.dtype, device=one.device).expand(draw.n, 3, 3)

    def rotated(inverse: Tensor, angle: Tensor) -> Tensor:
        c, s = angle.cos(), angle.sin()
        return _product(inverse, _matrix([[c, s, zero], [-s, c, zero], [zero, zero, one]]))

    def scaled(inverse: Tensor, sx: Tensor, sy: Tensor) -> Tensor:
        return _product(inverse, _matrix([[1 / sx, zero, zero], [zero, 1 / sy, zero], [zero, zero, one]]))

    def shifted(inverse: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
        return _product(inverse, _matrix([[one, zero, -tx], [zero, one, -ty], [zero, zero, one]]))

    if "xflip" in draw:
        flip = (draw.uniform() * 2).floor()
        inverse = scaled(inverse, 1 - 2 * torch.where(draw.gate("xflip"), flip, zero), one)
    if "rotate90" in draw:
        turns = (draw.uniform() * 4).floor()
        turns = torch.where(draw.gate("rotate90"), turns, zero)
        c, s = ((turns == at).to(one.dtype) - (turns == at + 2).to(one.dtype) for at in (0, 1))
        inverse = _product(inverse, _matrix([[c, -s, zero], [s, c, zero], [zero, zero, one]]))
    if "xint" in draw:
        shift = (draw.uniform(2) * 2 - 1) / 8
        shift = torch.where(draw.gate("xint")[:, None], shift, 0)
        inverse = shifted(inverse, (shift[:, 0] * width).round(), (shift[:, 1] * height).round())
    if "scale" in draw:
        scale = (draw.normal() * 0.2).exp2()
        scale = torch.where(draw.gate("scale"), scale, one)
        inverse = scaled(inverse, scale, scale)
    # Rotation before or after the stretching, so that one of them is applied with probability p.
    half = 1 - (1 - draw.ops.get("rotate", 0.0) * draw.p).clamp(0, 1).sqrt()
    if "rotate" in draw:
        angle = (draw.uniform() * 2 - 1) * math.pi
        inverse = rotated(inverse, -torch.where(draw.gate("rotate", half), angle, zero))
    if "aniso" in draw:
        scale = (draw.normal() * 0.2).exp2()
        scale = torch.where(draw.gate("aniso"), scale, one)
        inverse = scaled(inverse, scale, 1 / scale)
    if "rotate" in draw:
        angle = (draw.uniform() * 2 - 1) * math.pi
        inverse = rotated(inverse, -torch.where(draw.gate("rotate", half), angle, zero))
    if "xfrac" in draw:
        shift = draw.normal(2) / 8
        shift = torch.where(draw.gate("xfrac")[:, None], shift, 0)
        inverse = shifted(inverse, shift[:, 0] * width, shift[:, 1] * height)
    return inverse


def _color(x: Tensor, draw: Draw) -> Tensor:
    """Colour as one matrix on homogeneous colours; grey images use the mean over the three colours."""
    n, channels = x.shape[:2]
    eye = torch.eye(4, dtype=x.dtype, device=x.device).expand(n, 4, 4)
    matrix, one, zero = eye, x.new_ones(n), x.new_zeros(n)
    luma = x.new_ones(4) / math.sqrt(3)
    luma = torch.where(torch.arange(4, device=x.device) < 3, luma, 0)
    along = torch.outer(luma, luma)
    if "brightness" in draw:
        b = draw.normal() * 0.2
        b = torch.where(draw.gate("brightness"), b, zero)
        columns = [[one, zero, zero, b], [zero, one, zero, b], [zero, zero, one, b], [zero, zero, zero, one]]
        matrix = _product(_matrix(columns), matrix)
    if "contrast" in draw:
        c = (draw.normal() * 0.5).exp2()
        c = torch.where(draw.gate("contrast"), c, one)
        columns = [[c, zero, zero, zero], [zero, c, zero, zero], [zero, zero, c, zero], [zero, zero, zero, one]]
        matrix = _product(_matrix(columns), matrix)
    if "lumaflip" in draw:
        flip = (draw.uniform() * 2).floor()
        flip = torch.where(draw.gate("lumaflip"), flip, zero)
        matrix = _product(eye - 2 * along * flip[:, None, None], matrix)
    if "hue" in draw and channels > 1:
        angle = (draw.uniform() * 2 - 1) * math.pi
        angle = torch.where(draw.gate("hue"), angle, zero)
        matrix = _product(_about_luma(angle, eye, along), matrix)
    if "saturation" in draw and channels > 1:
        s = draw.normal().exp2()
        s = torch.where(draw.gate("saturation"), s, one)
        matrix = _product(along + (eye - along) * s[:, None, None], matrix)
    if matrix is eye:
        return x
    if channels not in (1, 3):
        raise UserError(f"augment.ada.ops: color needs images of 1 or 3 channels, not {channels}; remove color")
    part = matrix[:, :3]
    if channels == 1:
        part = part.mean(1, keepdim=True)
        moved = x * part[:, :, :3].sum(2)[..., None, None] + part[:, :, 3, None, None]
    else:
        mixed = torch.stack([part[:, :, i, None, None] * x[:, i : i + 1] for i in range(3)]).sum(0)
        moved = mixed + part[:, :, 3, None, None]
    return _where_moved(matrix, moved, x)


def _about_luma(angle: Tensor, eye: Tensor, along: Tensor) -> Tensor:
    """Rotation of colours about the grey axis (N, 4, 4), by Rodrigues' formula; the homogeneous coordinate is kept."""
    zero, s = torch.zeros_like(angle), angle.sin() / math.sqrt(3)
    across = _matrix([[zero, -s, s, zero], [s, zero, -s, zero], [-s, s, zero, zero], [zero, zero, zero, zero]])
    homogeneous = torch.arange(4, device=angle.device) == 3
    keeps = along + torch.outer(homogeneous, homogeneous)
    return keeps + angle.cos()[:, None, None] * (eye - keeps) + across


@constant
def filter_bank(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The zero-phase filters of the four bands (4, 43), which sum to the unit impulse: [0, π/8], …, [π/2, π].

    From the second symlet H (appendix B): at each level the bands so far are dilated and low-passed by H(z)H(1/z)/2;
    the complement, H(-z)H(-1/z)/2, is the next band.
    """
    low = torch.tensor(SYM2, dtype=torch.float64) / (4 * math.sqrt(2))
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    low2, high2 = (_convolve(taps, taps.flip(0)) / 2 for taps in (low, high))
    bank = torch.eye(4, 1, dtype=torch.float64)
    for i in range(1, 4):
        dilated = torch.stack([bank, torch.zeros_like(bank)], 2).flatten(1)[:, :-1]
        bank = torch.stack([_convolve(row, low2) for row in dilated])
        start = (bank.shape[1] - len(high2)) // 2
        bank[i, start : start + len(high2)] += high2
    return bank.to(device, dtype)


def _convolve(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _bands(x: Tensor, draw: Draw) -> Tensor:
    """Amplifies frequency bands, normalised to constant expected power."""
    if "imgfilter" not in draw:
        return x
    n, channels, height, width = x.shape
    spectrum = torch.stack([x.new_full((), share) for share in SPECTRUM])
    gains, touched = x.new_ones(n, len(SPECTRUM)), torch.zeros(n, dtype=torch.bool, device=x.device)
    for band in range(len(SPECTRUM)):
        amplified = draw.normal().exp2()
        gate = draw.gate("imgfilter")
        gain = torch.where(torch.arange(len(SPECTRUM), device=x.device) == band, amplified[:, None], 1)
        gain = torch.where(gate[:, None], gain, 1)
        gains = gains * gain / (spectrum * gain.square()).sum(1, keepdim=True).sqrt()
        touched = touched | gate
    bank = filter_bank(x.dtype, x.device)
    taps = (gains[:, :, None] * bank).sum(1).repeat_interleave(channels, 0)[:, None]
    reach = bank.shape[1] // 2
    h = reflect(x.reshape(1, n * channels, height, width), reach)
    h = F.conv2d(h, taps[:, :, None, :], groups=n * channels)
    h = F.conv2d(h, taps[:, :, :, None], groups=n * channels).view(x.shape)
    return torch.where(touched[:, None, None, None], h, x)


def reflect(x: Tensor, reach: int) -> Tensor:
    """x (N, C, H, W) padded by reflection by `reach` pixels, repeatedly if that exceeds its side."""
    for dim in (2, 3):
        side = x.shape[dim]
        at = torch.arange(-reach, side + reach, device=x.device)
        if side > 1:
            at = at.remainder(2 * side - 2)
            at = torch.minimum(at, 2 * side - 2 - at)
        else:
            at = torch.zeros_like(at)
        x = x.index_select(dim, at)
    return x


def _noise(x: Tensor, draw: Draw) -> Tensor:
    if "noise" not in draw:
        return x
    sigma = draw.normal().abs() * 0.1
    gate = draw.gate("noise")[:, None, None, None]
    noisy = x + draw.normal(*x.shape[1:]) * sigma[:, None, None, None]
    return torch.where(gate, noisy, x)


def _cutout(x: Tensor, draw: Draw) -> Tensor:
    if "cutout" not in draw:
        return x
    gate, centre = draw.gate("cutout"), draw.uniform(2)
    inside = gate[:, None, None]
    for axis, side in ((0, x.shape[3]), (1, x.shape[2])):
        place = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) / side
        struck = (place - centre[:, axis : axis + 1]).abs() < 0.25
        inside = inside & (struck[:, None, :] if axis == 0 else struck[:, :, None])
    return torch.where(inside[:, None], 0, x)


def _matrix(entries: list[list[Tensor]]) -> Tensor:
    """(N, rows, columns) of entries (N,)."""
    return torch.stack([torch.stack(row, 1) for row in entries], 1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a·b of small matrices (N, k, k) in full precision; torch's product may round to ten bits on a GPU."""
    return (a[:, :, :, None] * b[:, None, :, :]).sum(2)


def _where_moved(matrix: Tensor, moved: Tensor, x: Tensor) -> Tensor:
    """`moved` for the images whose matrix is not the identity, x for the others."""
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    untouched = (matrix == eye).flatten(1).all(1)
    return torch.where(untouched[:, None, None, None], x, moved)
