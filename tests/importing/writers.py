"""Each family of files by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from importing.residual_files import biggan, huggingface, studiogan
from importing.style_files import rosinality, stylegan2_ada, stylegan2_state
from importing.translation_files import cyclegan, pix2pix
from importing.writing import Written

FAMILIES: Mapping[str, Callable[[Path], Written]] = {
    "stylegan2-ada": stylegan2_ada,
    "stylegan2-state": stylegan2_state,
    "rosinality": rosinality,
    "biggan": biggan,
    "huggingface": huggingface,
    "cyclegan": cyclegan,
    "pix2pix": pix2pix,
    "studiogan": studiogan,
}
