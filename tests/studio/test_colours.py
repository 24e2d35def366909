"""The colours of curves, as colour-blind readers see them."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB without one of the three cones.
SIGHT = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
STATIC = resources.files("steadygan.studio").joinpath("static")
CLEAR = 20
"""A distance in CIELAB that is seen at a glance; 2 is the least that is seen side by side."""


def lab(hexadecimal: str, sight: str) -> NDArray[np.float64]:
    """A colour in CIELAB."""
    rgb = np.array([int(hexadecimal[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    x, y, z = np.cbrt(TO_XYZ @ seen / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_curves_with_the_same_dashes_differ_in_colour_for_every_eye(theme: str, sight: str) -> None:
    palettes = re.findall(r"--s1: .*", STATIC.joinpath("base.css").read_text())
    colours = re.findall(r"--s\d: #(\w{6})", palettes[theme == "dark"])
    listed = re.search(r"DASHES = \[(.*)\]", STATIC.joinpath("lib", "scale.js").read_text())
    assert listed is not None
    dashes = listed[1].split(", ")
    assert len(colours) == len(dashes) == 8
    near = [
        (i + 1, j + 1)
        for i, j in combinations(range(8), 2)
        if dashes[i] == dashes[j] and np.linalg.norm(lab(colours[i], sight) - lab(colours[j], sight)) < CLEAR
    ]
    assert not near
