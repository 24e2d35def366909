"""Compiled stencils agree with torch's operators, which replace them without a compiler."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from steadygan.kernels.compiled import building
from steadygan.kernels.winograd import native
from steadygan.kernels.winograd.forms import DOUBLING, PAIRS, QUADS, cut
from steadygan.kernels.winograd.stencils import Stencil, of_matrix

BLUR = Stencil(1, (((0, 0, 2.0), (-1, 0, 1.0), (1, 0, 1.0)),))
with building():
    OBSTACLE = native.obstacle()
needs_code = pytest.mark.skipif(OBSTACLE is not None, reason=f"no compiled kernels: {OBSTACLE}")


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


STENCILS = {
    f"{name}.{part}{turned}": stencil.transposed if turned else stencil
    for name, form in {"pairs": PAIRS, "quads": QUADS, "doubling": DOUBLING}.items()
    for part, stencil in (("kernel", form._kernel), ("input", form._input), ("output", form._output))
    for turned in ("", "'")
}
each_stencil = pytest.mark.parametrize("stencil", STENCILS.values(), ids=STENCILS)
OPTIONS = {
    "kernel": [()],
    "kernel'": [()],
    "input": [(), ("rectify",)],
    "input'": [(), ("mask",)],
    "output": [(), ("bias",), ("mask",), ("bias", "mask")],
    "output'": [(), ("rectify",)],
}
"""What each part of a convolution is computed with; each combination takes the compiler up to a second."""


@needs_code
@pytest.mark.parametrize("tiles", [(3, 2, 5), (2, 1, 1)], ids=str)
@pytest.mark.parametrize("name", STENCILS)
def test_code_in_float32_equals_the_operators_in_float64(name: str, tiles: tuple[int, int, int]) -> None:
    stencil, part = STENCILS[name], name.partition(".")[2]
    lines, sums = stencil.lines, len(stencil.sums)
    source, bias, mask = draw(*tiles, lines, lines, 48), draw(48), draw(*tiles, sums, sums, 48).relu()
    for wanted in OPTIONS[part]:
        rectify, added = "rectify" in wanted, bias if "bias" in wanted else None
        masked = mask if "mask" in wanted else None
        exact = torch.empty(*tiles, sums, sums, 48, dtype=torch.float64)
        stencil(source.double(), exact, None if added is None else added.double(), rectify=rectify, mask=masked)
        found = torch.full_like(exact, float("nan"), dtype=torch.float32)
        assert native.suits(source, found, masked)
        native.run(stencil, source, found, added, rectify=rectify, mask=masked)
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)


@needs_code
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, torch.bfloat16) for name in STENCILS]
    + [(name, torch.float32) for name in STENCILS if name.endswith("kernel")],  # float32 kernels of bfloat16 products
    ids=str,
)
def test_code_in_bfloat16_rounds_once(name: str, kind: torch.dtype) -> None:
    """To the nearest value to the exact sum of numbers of a kind; operators round after each of them."""
    stencil = STENCILS[name]
    lines, sums = stencil.lines, len(stencil.sums)
    source = draw(2, 3, 4, lines, lines, 32, dtype=kind)
    exact = torch.empty(2, 3, 4, sums, sums, 32, dtype=torch.float64)
    stencil(source.double(), exact)
    found = torch.empty_like(exact, dtype=torch.bfloat16)
    native.run(stencil, source, found)
    assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all()
    assert (found == exact.bfloat16()).float().mean() > 0.999


@needs_code
def test_code_follows_strides_and_keeps_what_is_not_a_number() -> None:
    image = draw(2, 8, 12, 16)
    image[1, 3, 5, 7] = float("nan")
    image[0, 0, 0, 0] = float("inf")
    mask = torch.ones_like(cut(image, 1))
    mask[1, 3, 4, ..., 7] = float("nan")  # as torch's own derivative of ReLU has it, not 0
    for options in ({}, {"rectify": True}, {"mask": mask}):
        expected, found = torch.empty_like(image), torch.empty_like(image)
        BLUR(cut(image, 1), cut(expected, 1), **options)
        turned = {key: value.transpose(1, 2) if key == "mask" else value for key, value in options.items()}
        native.run(BLUR, cut(image, 1).transpose(1, 2), cut(found, 1).transpose(1, 2), **turned)
        torch.testing.assert_close(found, expected, equal_nan=True)
        assert found.isnan().sum() == 9


@pytest.mark.parametrize(
    "change",
    [lambda x: x.double(), lambda x: x.half(), lambda x: x[..., :-1], lambda x: x[..., ::2], lambda x: x.to("meta")],
    ids=["float64", "float16", "odd channels", "strided channels", "meta"],
)
def test_other_tensors_are_left_to_the_operators(change: Callable[[Tensor], Tensor]) -> None:
    image = change(cut(draw(1, 4, 4, 32), 1))
    target = torch.empty_like(image)
    assert not native.suits(image, target)
    native.run(BLUR, image, target)
    if not target.is_meta:
        expected = torch.empty_like(image, dtype=torch.float64)
        BLUR(image.double(), expected)
        torch.testing.assert_close(target.double(), expected, rtol=1e-2, atol=1e-2)


@each_stencil
def test_a_stencil_s_transpose_is_its_transpose(stencil: Stencil) -> None:
    lines, sums = stencil.lines, len(stencil.sums)
    x, y = draw(2, 3, 4, lines, lines, 1).double(), draw(2, 3, 4, sums, sums, 1).double()
    forward, back = torch.empty_like(y), torch.empty_like(x)
    stencil(x, forward)
    stencil.transposed(y, back)
    torch.testing.assert_close((forward * y).sum(), (back * x).sum())


def test_a_matrix_reaches_into_the_tiles_beside() -> None:
    stencil = of_matrix([[1, 2, 3, 4]], step=2, margin=1)
    assert set(stencil.sums[0]) == {(-1, 1, 1), (0, 0, 2), (0, 1, 3), (1, 0, 4)}


@pytest.mark.parametrize(
    "kinds", list(product((torch.float32, torch.float64), (torch.bfloat16, torch.float32))), ids=str
)
@pytest.mark.parametrize("side", [16, 5])
def test_products_are_added(side: int, kinds: tuple[torch.dtype, torch.dtype]) -> None:
    sums, a, b = draw(2, side, side, dtype=kinds[0]), draw(2, side, 7, dtype=kinds[1]), draw(2, 7, side, dtype=kinds[1])
    expected = sums.double() + torch.bmm(a, b).double()
    native.add_product(sums, a, b)
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-5)
